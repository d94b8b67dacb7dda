"""Train the reward model of rounds further, as GRPO's algorithm 1 does.

At a border a judge labels pairs of the samples of the round before, and the
reward model is trained on these and on its own first data (replay), by a plain
run in RUN/refits/R/model. Round R and those after are scored by it. As the
labels are kept before that run begins, and the run goes on where it was
stopped, a kill anywhere changes nothing.

Of several processes the first asks the judge, scores, reads what is kept and
writes it, and all train: the refit is a run on the devices of all.

Above 300 lines, since the order in which it keeps what it makes is what lets it
be killed anywhere.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from offalign import judges
from offalign.config import Config, arguments
from offalign.config.refit import Refit
from offalign.config.refit import parse as parse_refit
from offalign.data import Tokenizer
from offalign.distributed import hosts
from offalign.errors import concerning, option
from offalign.files import read_object, write_atomically, write_json, writing
from offalign.generation.completions import Prompt
from offalign.judges import scorers
from offalign.judges.endpoint.asker import AtEndpoint
from offalign.judges.scorers import Score
from offalign.policy.folder import read_run
from offalign.training.rounds.kept import Samples
from offalign.training.rounds.refit_checks import run_of

FOLDER = "refits"
_PAIRS, _MODEL, _ABOUT, _ANSWERS = "pairs.jsonl", "model", "refit.json", "judge"
_LABELS = "labels.jsonl"
_CURE = "; delete its folder, and the run makes it again"

_AS_BEFORE = (
  "loss",
  "batch_size",
  "microbatches",
  "remat",
  "logp_chunk",
  "attention",
  "compute_dtype",
  "router_aux_loss_coef",
)
"""Options that a refit has from the run that trained the reward model, beside
those of its data, its value network and its optimiser."""

_OF_TEXT = ("max_prompt", "max_completion", "template_vars")
"""Options of the first data that hold for new pairs alone too."""


@dataclasses.dataclass
class Refits:
  """The reward models of a run's rounds, each made from the one before.

  Attributes:
    config: of the run.
    refit: its option, read.
    folder: of all refits.
    prompts: of the run.
    tokenizer: of the samples.
    samples: number of a round that was made -> its samples.
    first: scores with the model of `grow.score`.
    train: trains a run to its end, or goes on with it.
    pieces: into how many the devices cut a batch.
  """

  config: Config
  refit: Refit
  folder: pathlib.Path
  prompts: Sequence[Prompt]
  tokenizer: Tokenizer
  samples: Callable[[int], Samples]
  first: Score
  train: Callable[[Config], None]
  pieces: int
  _open: dict[int, Score] = dataclasses.field(default_factory=dict, init=False)

  @classmethod
  def of(cls, config: Config, **others: Any) -> "Refits | None":
    """The refits of a run; None where it has none."""
    if config.grow is None or config.grow.refit is None:
      return None
    return cls(config=config, refit=parse_refit(config.grow.refit), **others)

  def score(self, number: int) -> Score:
    """What scores in a round; trained first where it is due and not there.

    Args:
      number: of the round, from 1; the one before must be made.

    Raises:
      UserError: where the judge or the training fails.
      Stopped: where the run was asked to stop.
    """
    border = self.refit.before(number)
    if border is None:
      return self.first
    if border not in self._open:
      about = self._about(border)
      if about is None:
        before = self.score(border - 1)
        about = self._made(border, before)
      self._open = {border: self._opened(about)}
    return self._open[border]

  def says(self, number: int) -> dict[str, Any]:
    """What round.json says of what scored a round: its spec, and a constant.

    A reward model is known up to a constant, and the one that is added holds
    the mean of a refit's pairs where it was.
    """
    border = self.refit.before(number)
    about = None if border is None else self._about(border)
    if about is None:
      return {"score": str(_score(self.config)), "score_shift": 0.0}
    return {"score": about["score"], "score_shift": about["shift"]}

  def metrics(self, number: int) -> dict[str, float]:
    """What is logged of the refit at the border of a round, if any."""
    if self.refit.before(number) != number:
      return {}
    about = self._about(number)
    return {} if about is None else dict(about["metrics"])

  def _about(self, border: int) -> dict[str, Any] | None:
    """What refit.json of a border says; None before the refit is whole."""
    path = self.folder / str(border) / _ABOUT
    found: dict[str, Any] | None = hosts.json_from_first(
      lambda: read_object(path, _CURE) if path.exists() else None
    )
    return found

  def _opened(self, about: Mapping[str, Any]) -> Score:
    """What scores by a refitted model, or by the first."""
    if about["score"] == str(_score(self.config)):
      return self.first
    score = scorers.make(about["score"])
    return lambda pairs: np.asarray(score(pairs), float) + about["shift"]

  def _made(self, border: int, before: Score) -> dict[str, Any]:
    """Labels pairs, trains on them, and writes refit.json."""
    folder = self.folder / str(border)
    known = self._about(self.refit.before(border - 1) or 0) or {
      "score": str(_score(self.config)),
      "shift": 0.0,
    }
    labelled = self._labelled(folder, border)
    rows = [row for row in labelled if "chosen" in row]
    size = self._batch(len(rows))
    if not size:
      hosts.say(
        f"round {border}: the judge of refit prefers a sample in {len(rows):,} "
        f"of {len(labelled):,} pairs, which make no batch, so that the reward "
        "model stays as it is"
      )
    metrics = {
      "refit/pairs": float(len(rows)),
      "refit/no_verdict": float(len(labelled) - len(rows)),
    }
    about = {**known, "metrics": metrics}
    if rows:
      metrics |= hosts.json_from_first(
        lambda: {
          "refit/agreement": _agreement(before, rows),
          "refit/agreement_first": _agreement(self.first, rows),
        }
      )
    if size:
      config = self._config(border, known["score"], rows, size)
      hosts.say(
        f"round {border}: the reward model is trained further on "
        f"{len(rows):,} pairs, with which it agrees to "
        f"{metrics['refit/agreement']:.3f}"
      )
      self.train(config)
      score = _spec(folder / _MODEL, _score(self.config))
      now = scorers.make(score)  # which all processes read together
      shift, after = hosts.json_from_first(
        lambda: (_shift(before, now, rows), _agreement(now, rows))
      )
      about |= {"score": score, "shift": shift}
      metrics["refit/agreement_after"] = after
    if hosts.is_first():
      write_json(folder / _ABOUT, about)
    return about

  def _labelled(
    self, folder: pathlib.Path, border: int
  ) -> list[dict[str, Any]]:
    """Pairs of the round before, labelled; kept before they are used."""
    judge, there = None, hosts.anywhere((folder / _LABELS).exists())
    options = judges.options(self.refit.judge)
    if not there and isinstance(options, judges.RewardModel):
      judge = self._judge()  # which all processes read together
    found: list[dict[str, Any]] = hosts.json_from_first(
      lambda: self._labels(folder, border, judge)
    )
    return found

  def _judge(self) -> judges.Judge:
    with concerning(option("grow.refit")):
      return judges.make(self.refit.judge, self.folder / _ANSWERS)

  def _labels(
    self, folder: pathlib.Path, border: int, judge: judges.Judge | None
  ) -> list[dict[str, Any]]:
    """Reads the labelled pairs, or has a judge label them, and keeps them."""
    path = folder / _LABELS
    if path.exists():
      lines = path.read_text(encoding="utf-8").splitlines()
      return [json.loads(line) for line in lines]
    with writing(folder):
      folder.mkdir(parents=True, exist_ok=True)
    prompts, a, b = self._pairs(border - 1)
    rows: list[dict[str, Any]] = []
    if prompts:
      judge = judge or self._judge()
      with concerning(option("grow.refit")):
        said = judge.compare(prompts, a, b).preferences
        if isinstance(judge, AtEndpoint):
          judge.close()
      for prompt, one, other, preferred in zip(
        prompts, a, b, said, strict=True
      ):
        row: dict[str, Any] = {"prompt": _written(prompt)}
        if preferred > 0.5:
          row |= {"chosen": one, "rejected": other}
        elif preferred < 0.5:
          row |= {"chosen": other, "rejected": one}
        else:  # a tie, or no verdict
          row |= {"completions": [one, other]}
        rows.append(row)
    _write_lines(path, rows)
    return rows

  def _pairs(self, number: int) -> tuple[list[Prompt], list[str], list[str]]:
    """Pairs of different samples of a prompt, chosen by the run's seed."""
    samples = self.samples(number)
    each = samples.scores.shape[1]
    texts = [self.tokenizer.decode(row) for row in samples.drawn.tokens]
    found = [
      (self.prompts[prompt], texts[i * each + k], texts[i * each + m])
      for i, prompt in enumerate(samples.prompts)
      for k, m in itertools.combinations(range(each), 2)
      if texts[i * each + k] != texts[i * each + m]
    ]
    rng = np.random.default_rng([self.config.seed, number, 5])
    kept = np.sort(rng.permutation(len(found))[: self.refit.pairs])
    chosen = [found[i] for i in kept]
    turned = rng.random(len(chosen)) < 0.5
    return (
      [prompt for prompt, _, _ in chosen],
      [(y if t else x) for (_, x, y), t in zip(chosen, turned, strict=True)],
      [(x if t else y) for (_, x, y), t in zip(chosen, turned, strict=True)],
    )

  def _trained(self) -> dict[str, Any]:
    """The options of the run that trained the first reward model."""
    return dict(read_run(pathlib.Path(run_of(_score(self.config))))["config"])

  def _batch(self, pairs: int) -> int:
    """Rows of a batch; 0 where there are too few.

    New pairs alone may be fewer than the reward model's batches have.
    """
    known = self._trained()
    size = int(known["batch_size"])
    if self.refit.replay:
      return size if pairs else 0
    unit = int(known["microbatches"]) * self.pieces
    return min(size, pairs // unit * unit)

  def _config(
    self, border: int, score: str, rows: list[dict[str, Any]], size: int
  ) -> Config:
    """The run that trains the reward model further.

    Its seed is another at each border, so that other rows are replayed.
    """
    folder = self.folder / str(border)
    if hosts.is_first():
      _write_lines(folder / _PAIRS, rows)
    hosts.wait(f"the pairs of refit {border} are written")
    model = judges.options(score)
    known = self._trained()
    given: dict[str, Any] = {
      name: known[name] for name in _AS_BEFORE if name in known
    }
    for name, value in known.items():
      group, _, inner = name.rpartition(".")
      if group in ("data", "value", "optimizer"):
        given.setdefault(group, {})[inner] = value
    path, replay = str(folder / _PAIRS), self.refit.replay
    if replay:
      path = f"{path}:{1 - replay:g},{known['data.path']}:{replay:g}"
    else:  # new pairs alone, of which none are held out
      given["data"] = {name: given["data"].get(name) for name in _OF_TEXT}
      given["data"]["eval_fraction"] = 0
    given["data"] |= {"path": path, "cache": None}
    steps = {"newest": None}.get(str(model.step), model.step)
    return arguments.read(
      given
      | {
        "init": model.run,
        "init_step": steps,
        "out": str(folder / _MODEL),
        "seed": known["seed"] + border,
        "batch_size": size,
        "steps": self.refit.steps,
        "keep": 1,
        "mesh": self.config.mesh,
        "hosts": self.config.hosts,
        "compile_cache": self.config.compile_cache,
        "imports": self.config.imports,  # never what a file names
      }
    )


def _score(config: Config) -> str:
  assert config.grow is not None
  assert config.grow.score is not None
  return config.grow.score


def _spec(folder: pathlib.Path, first: str) -> str:
  """The spec of a refitted model, scored in the batches of the first."""
  size = judges.options(first).batch_size
  return f"reward_model(run={json.dumps(str(folder))}, batch_size={size})"


def _texts(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Prompt, str]]:
  """The completions of pairs, the chosen ones first."""
  return [
    (_read(row["prompt"]), row[name])
    for name in ("chosen", "rejected")
    for row in rows
  ]


def _shift(
  before: Score, now: Score, rows: Sequence[Mapping[str, Any]]
) -> float:
  """How much higher one score puts the completions of pairs than another."""
  pairs = _texts(rows)
  return float(np.mean(before(pairs)) - np.mean(now(pairs)))


def _agreement(score: Score, rows: Sequence[Mapping[str, Any]]) -> float:
  """The share of pairs of which a score has the judge's order; ties half."""
  found = np.asarray(score(_texts(rows)), np.float64).reshape(2, len(rows))
  return float((0.5 + 0.5 * np.sign(found[0] - found[1])).mean())


def _written(prompt: Prompt) -> Any:
  if isinstance(prompt, str):
    return prompt
  return [{"role": role, "content": text} for role, text in prompt]


def _read(prompt: Any) -> Prompt:
  if isinstance(prompt, str):
    return prompt
  return tuple((turn["role"], turn["content"]) for turn in prompt)


def _write_lines(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
  lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
  write_atomically(path, "".join(lines))
