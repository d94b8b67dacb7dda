"""Rounds of a run: samples, scores and references made anew at each border.

A round depends on the weights at its border and the run's seed alone, and is
kept whole before its first step. So a run that was killed reads it again, or,
where it was killed before, makes the same.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offalign.config import Config
from offalign.config.grow import parse_thresholds
from offalign.config.reference import ReferenceChoice
from offalign.data import RewardScale, Sampler, TokenRows, normalize
from offalign.distributed import hosts
from offalign.errors import UserError, marked, option
from offalign.generation.completing import first_seed
from offalign.losses import Loss
from offalign.models import lora
from offalign.reference import moving
from offalign.reference.scoring import Scorer
from offalign.reference.store import Store
from offalign.training import rewards
from offalign.training.batches import Batches
from offalign.training.rounds import kept as kept_lib
from offalign.training.rounds import rows as rows_lib
from offalign.training.rounds.base import Round, Unscored
from offalign.training.rounds.kept import Kept, Samples
from offalign.training.rounds.making import Maker
from offalign.training.rounds.schedule import RoundSampler, Schedule
from offalign.types import Kind, Params


@dataclasses.dataclass
class Growing:
  """The rounds of a run; see `offalign.training.rounds.base.Rounds`.

  Attributes:
    config: of the run, with its rounds resolved.
    loss: of the run.
    held: rows to evaluate on, with all columns; its "train" rows are of the
      shapes of a round's.
    log: the rows that the data has, before their reference is known; None
      where there are prompts alone.
    sampler: of the log's rows, for rounds without samples.
    kept: the folders of rounds.
    maker: draws samples and scores them; None = rounds only move the
      reference.
    choice: which policy is the reference.
    scorer: scores under the reference of the first round.
    identity: names that reference's weights.
    oldest: the step of the oldest checkpoint, 0 where there is none.

  Where each step runs the reference and it moves, a round keeps its weights,
  since those of a border are not at hand inside the round any more.
  """

  config: Config
  loss: Loss
  held: Batches
  log: Batches | None
  sampler: Sampler | None
  kept: Kept
  maker: Maker | None
  choice: ReferenceChoice
  scorer: Scorer
  identity: str
  oldest: Callable[[], int]
  _now: tuple[int, list[Round]] = dataclasses.field(
    default_factory=lambda: (0, []), init=False
  )
  _past: dict[int, Samples] = dataclasses.field(
    default_factory=dict, init=False
  )
  _scale: RewardScale | None = dataclasses.field(default=None, init=False)

  def __post_init__(self) -> None:
    grow = self.config.grow
    assert grow is not None
    assert grow.every is not None
    self._cuts = parse_thresholds(grow.thresholds) or (None,)
    self._schedule = Schedule(grow.every, len(self._cuts))

  def begins(self, step: int) -> bool:
    """See `Rounds`."""
    return self._schedule.begins(step)

  def enter(self, step: int, policy: Params) -> Round:
    """See `Rounds`.

    Raises:
      UserError: where the folder of a round that was begun is gone.
    """
    number = self._schedule.round_of(step)
    if self._now[0] != number:
      self._now = number, self._made(number, step, policy)
    return self._now[1][self._schedule.part_of(step) - 1]

  def _made(self, number: int, step: int, policy: Params) -> list[Round]:
    """The parts of a round, made or read."""
    if self.kept.has(number):
      parts = self._parts(number, self._read(number), None)[0]
      if not self._runs_moved:
        return parts
      return _held_to(parts, self.kept.average(number, _own(policy)))
    if step != self._schedule.first(number):
      raise UserError(
        f"{self.kept.path(number)} is gone, and step {step - 1} is inside its "
        "round: put it back, or delete the checkpoints of that round, and the "
        "run makes it again"
      )
    with self.kept.making(number) as folder:
      samples = None
      if self.maker is not None:
        try:
          samples, texts = self.maker.make(number, policy)
        except UserError as error:
          raise Unscored(f"round {number}: {marked(error)}") from error
        prompts = [self.maker.asked.prompts[i] for i in samples.prompts]
        more = {}
        if self.maker.refits is not None:
          more["scored_by"] = self.maker.refits.says(number)["score"]
        kept_lib.write_samples(folder, samples, prompts, texts, **more)
      reference = policy
      if self.choice.kind == "ema":
        reference = self._average(number, policy)
      if self.choice.kind == "ema" or self._runs_moved:
        kept_lib.write_average(folder, _own(reference))
      here = self._scorer(number, folder, reference)
      parts, about = self._parts(number, samples, here)
      kept_lib.write_about(folder, about)
    if self.maker is not None and self.maker.external is not None:
      self.maker.external.forget()
    first = self._schedule.round_of(self.oldest() + 1)
    self.kept.forget_averages(first - 1)
    if self._runs_moved:
      # The step uses up the policy's own buffers.
      parts = _held_to(parts, jax.tree.map(jnp.copy, _own(reference)))
    return parts

  @property
  def _runs_moved(self) -> bool:
    """Whether each step runs a reference that moves."""
    return self.loss.runs_reference and self.choice.moves

  def _average(self, number: int, policy: Params) -> Params:
    """The average that is a round's reference; the first is the start."""
    if number == 1:
      return policy
    before = self.kept.average(number - 1, policy)
    return moving.after_border(before, policy, self.choice.kept)

  def _scorer(self, number: int, folder: Any, reference: Params) -> Scorer:
    """What scores under the reference of a round."""
    if not self.choice.moves:
      return self.scorer
    identity = self.choice.identity(self.identity, number - 1)
    return dataclasses.replace(
      self.scorer, store=Store(folder / "reference", identity), params=reference
    )

  def _read(self, number: int) -> Samples | None:
    if self.maker is None:
      return None
    return self.kept.samples(number)

  def _parts(
    self, number: int, samples: Samples | None, scorer: Scorer | None
  ) -> tuple[list[Round], dict[str, Any]]:
    """The parts of a round, and what round.json says of it.

    Args:
      number: of the round.
      samples: of the round, where it has any.
      scorer: computes what is not stored; None = the round is there already,
        and so is all of that.
    """
    known = None if scorer is not None else self.kept.about(number)
    if samples is not None:
      self._past[number] = samples
    if scorer is None:
      scorer = self._scorer(number, self.kept.path(number), None)
    made = []
    for part in range(1, self._schedule.parts + 1):
      rows, sampler = self._rows(number, part)
      data = dataclasses.replace(
        self.held, rows={"train": rows}, mismatched={}, packings={}
      )
      with hosts.silent(number > 1):  # it says the same each time
        steps = self._schedule.steps(number, part)
        data = data.with_reference(sampler, steps, scorer)
      first = self._schedule.first(number, part)
      made.append(Round(first, data, sampler))
    if known is None:
      known = {"round": number, "metrics": self._metrics(number, made)}
      if number == 1 and self._scale is not None:
        known["reward_scale"] = dataclasses.asdict(self._scale)
      if self.maker is not None and self.maker.refits is not None:
        known |= self.maker.refits.says(number)
    made[0] = dataclasses.replace(made[0], metrics=known["metrics"])
    return made, known

  def _rows(self, number: int, part: int) -> tuple[TokenRows, Sampler]:
    """The rows of a part without their reference, and who draws them."""
    if self.maker is None:
      assert self.log is not None
      assert self.sampler is not None
      return self.log.train, self.sampler
    config, asked, grow = self.config, self.maker.asked, self.config.grow
    assert grow is not None
    assert grow.every is not None
    cut = rows_lib.threshold_of(self._cuts[part - 1], self._samples(number))
    chosen = rows_lib.options(config.data, grow, self.loss, cut)
    every = range(1, number + 1) if grow.keep == "all" else (number,)
    try:
      parts = [
        rows_lib.make(
          self._samples(each),
          asked.tokens,
          self.loss,
          chosen,
          seed=config.seed,
          name=f"round {each}",
          pad_id=self.held.tokenizer.pad_id,
          lengths=asked.lengths,
          threshold=cut,
        )
        for each in every
      ]
      parts = [self._scaled(rows) for rows in parts]
    except UserError as error:
      raise Unscored(marked(error), error.option) from error
    if grow.keep == "all" and self.log is not None:
      parts = [self.log.train, *parts]
    rows = parts[0] if len(parts) == 1 else rows_lib.join(parts, asked.lengths)
    sampler = RoundSampler(
      len(rows),
      config.batch_size,
      first_seed(f"{config.seed}/rows/{number}/{part}"),
      begin=self._schedule.first(number, part) - 1,
      epochs_a_step=asked.batch / len(asked.prompts) / grow.every,
    )
    return rows, sampler

  def _samples(self, number: int) -> Samples:
    """The samples of a round that is made."""
    if number not in self._past:
      self._past[number] = self.kept.samples(number)
    found = self._past[number]
    grow = self.config.grow
    assert grow is not None
    if grow.keep == "new":
      self._past = {number: found}
    return found

  def _scaled(self, rows: TokenRows) -> TokenRows:
    """Rewards on the scale of the first round, or of the log beside it."""
    if rows.rewards is None or not self._normalises:
      return rows
    scale = self._scale_of_run()
    return dataclasses.replace(rows, rewards=scale.apply(rows.rewards))

  @property
  def _normalises(self) -> bool:
    wanted = self.config.data.normalize_rewards is not False
    return wanted and rewards.reads_rewards(self.loss)

  def _scale_of_run(self) -> RewardScale:
    if self._scale is not None:
      return self._scale
    grow = self.config.grow
    assert grow is not None
    if grow.keep == "all" and self.log is not None and self.log.scales:
      self._scale = self.log.scales.scale()
    elif self.kept.has(1):
      self._scale = RewardScale(**self.kept.about(1)["reward_scale"])
    else:
      self._scale = _fitted(self._samples(1).scores)
    return self._scale

  def _metrics(self, number: int, parts: list[Round]) -> dict[str, float]:
    """What is logged of a round, under TRL's names where it has them."""
    found = {"round": float(number)}
    grow = self.config.grow
    assert grow is not None
    if self.maker is None:
      return found
    samples = self._samples(number)
    scores, drawn = samples.scores, samples.drawn
    lengths, finished = drawn.tokens.lengths, drawn.finished
    every = scores
    own = np.tile(self.maker.fresh, len(scores))
    if not own.all():  # the others are of the log
      scores = scores.reshape(-1)[own]
      lengths, finished = lengths[own], finished[own]
    found |= {
      "episode": float(number * scores.size),
      "objective/scores": float(np.nanmean(scores)),
      "objective/scores_std": float(np.nanstd(scores)),
      "frac_reward_zero_std": _alike(every),
      "completions/mean_length": float(lengths.mean()),
      "completions/max_length": float(lengths.max()),
      "completions/clipped_ratio": float(1 - finished.mean()),
    }
    if self.maker.is_partial:
      found |= self._unscored(number, every)
    rows = parts[0].data.train
    if self._normalises:
      scaled = self._scale_of_run().apply(scores[np.isfinite(scores)])
      found["reward"] = float(scaled.mean(dtype=np.float64))
    if rows.ref_logps is not None and grow.keep == "new":
      found |= _kl(rows, drawn.logps)
    if self.maker.refits is not None:
      found |= self.maker.refits.metrics(number)
    return found

  def _unscored(self, number: int, scores: np.ndarray) -> dict[str, float]:
    """Counts what samples without a score take with them, and says it."""
    assert self.config.grow is not None
    missing = np.isnan(scores).sum(axis=1)
    found = {"objective/no_score": float(missing.sum())}
    if self.loss.kind is Kind.SINGLE:
      return found
    each, size = scores.shape[1], 2
    if self.loss.kind is Kind.GROUP:
      size = self.config.data.group_size or each
    lost = int(((missing > 0) & (each - missing < size)).sum())
    if lost:
      hosts.say(
        f"round {number}: {lost:,} of {len(scores):,} prompts make no row, "
        f"since fewer than {size} of their samples have a score"
      )
    return found | {"objective/no_group": float(lost)}

  def evaluate(self, step: int, policy: Params) -> dict[str, float]:
    """See `Rounds`: the score of what is written for held-out prompts."""
    if self.maker is None:
      return {}
    number = self._schedule.round_of(max(step, 1))
    return self.maker.held_score(policy, number)

  def count_tokens(self, steps: int) -> int:
    """See `Rounds`."""
    total = 0
    for number in range(1, self._schedule.round_of(max(steps, 1)) + 1):
      for part in range(1, self._schedule.parts + 1):
        due = [s for s in self._schedule.steps(number, part) if s < steps]
        if due:
          rows, sampler = self._rows(number, part)
          total += sum(rows.count_tokens(sampler.indices(s)) for s in due)
    return total


def _alike(scores: np.ndarray) -> float:
  """The share of prompts whose samples all score alike.

  Args:
    scores: [n, K]; of prompts with fewer than two scores, NaN is none, nothing
      is said, unless K is 1.
  """
  known = np.isfinite(scores)
  rows = scores[known.sum(axis=1) >= min(2, scores.shape[1])]
  if not len(rows):
    return float("nan")
  return float((np.nanmax(rows, 1) == np.nanmin(rows, 1)).mean())


def _own(params: Params) -> Params:
  """What is trained of a policy: its adapters, or all where it has none."""
  return lora.adapters_in(params) or params


def _held_to(parts: list[Round], reference: Params) -> list[Round]:
  """The parts of a round with the reference that their steps run."""
  return [dataclasses.replace(part, reference=reference) for part in parts]


def _fitted(scores: np.ndarray) -> RewardScale:
  """The scale of the first round's scores."""
  scores = scores[np.isfinite(scores)]
  if scores.min() == scores.max():
    raise UserError(
      f"round 1: all {scores.size:,} samples score {scores.flat[0]:g}, which "
      "gives rewards no scale: draw more "
      f"({option('grow.samples')}, {option('grow.batch')}), begin with a "
      "policy that scores now and then, or take scores as they are "
      f"({option('data.normalize_rewards', False)})"
    )
  return normalize(scores)[1]


def _kl(rows: TokenRows, logps: np.ndarray) -> dict[str, float]:
  """KL from the reference on the samples that a round draws in its rows."""
  assert rows.ref_logps is not None
  which, first = np.unique(rows.completion_index, return_index=True)
  ref = rows.ref_logps.reshape(-1)[first]
  known = np.isfinite(ref) & np.isfinite(logps[which])
  if not known.any():
    return {}
  gaps = logps[which[known]].astype(np.float64) - ref[known]
  return {"objective/kl": float(gaps.mean())}
