"""Judge by reward models that offalign trained, with loss bradley_terry.

One run's, or an ensemble of several runs': their mean, the worst of them, or
their mean less k standard deviations (arXiv:2310.02743).
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from offalign import spec
from offalign.errors import UserError
from offalign.judges.base import Prompt, Verdicts, by_scores

_REFERENCE = 256  # completions that put an ensemble's rewards on one scale


@dataclasses.dataclass(frozen=True)
class RewardModel:
  """Which run's reward model judges, or which runs' together.

  Attributes:
    run: the run folder of one reward model.
    runs: in place of `run`: the folders of an ensemble, with commas.
    step: of the checkpoint: "newest", "best" or a number.
    combine: of an ensemble: "mean", "worst" (the lowest) or "mean_minus_sd",
      the mean less k standard deviations (ddof=1) over the models.
    k: of "mean_minus_sd"; None = 1.
    scale: of an ensemble: "heldout" shifts and stretches each model's rewards,
      so that all have one mean and one standard deviation on the completions
      that the first run holds out (256 at most); "none" leaves them as they
      are. None = "heldout".
    tie: rewards that differ by no more are a tie.
    batch_size: completions scored at a time.
  """

  run: str = ""
  runs: str = ""
  step: str | int = "newest"
  combine: Literal["mean", "worst", "mean_minus_sd"] | None = None
  k: float | None = None
  scale: Literal["heldout", "none"] | None = None
  tie: float = 0.0
  batch_size: int = 16

  def __post_init__(self) -> None:
    if bool(self.run) == bool(self.runs):
      raise UserError(
        "judge 'reward_model' needs a run, or runs, and not both: write it "
        "like reward_model(run='runs/rm') or reward_model(runs='runs/a,runs/b')"
      )
    if self.tie < 0 or self.batch_size < 1:
      raise UserError(
        "judge 'reward_model': tie must be 0 or more and batch_size at least "
        f"1, not {self.tie} and {self.batch_size}"
      )
    for name in ("combine", "k", "scale"):
      if self.run and getattr(self, name) is not None:
        raise UserError(
          f"judge 'reward_model': {name} is for an ensemble (runs=...), and "
          f"run={self.run!r} is one model; leave it out"
        )
    if self.k is not None:
      if self.combine != "mean_minus_sd":
        raise UserError(
          "judge 'reward_model': k is for combine=mean_minus_sd; leave it out"
        )
      if not self.k >= 0:
        raise UserError(
          f"judge 'reward_model': k must be 0 or above, not {self.k}"
        )
    self._check_runs()

  def _check_runs(self) -> None:
    if not self.runs:
      return
    folders = self.folders
    if len(folders) < 2 or not all(folders):
      raise UserError(
        f"judge 'reward_model': runs={self.runs!r} must name two run folders "
        "or more, with commas; of one, write run="
      )
    real = [pathlib.Path(folder).resolve() for folder in folders]
    for folder, path in zip(folders, real, strict=True):
      if real.count(path) > 1:
        raise UserError(
          f"judge 'reward_model': runs has {folder} twice, and a model agrees "
          "with itself; leave one out"
        )

  @property
  def folders(self) -> list[str]:
    """The run folders: one, or those of the ensemble."""
    return (
      [x.strip() for x in self.runs.split(",")] if self.runs else [self.run]
    )


class RewardModelJudge:
  """Prefers the completion of the higher reward; see `RewardModel`.

  Attributes:
    options: which run's.
  """

  def __init__(self, options: RewardModel):
    """Reads the runs.

    Raises:
      UserError: where there is none, or it trained no reward model; or where
        an ensemble is to be put on one scale, and the first run holds nothing
        out.
    """
    # Imported here: it brings jax, which other judges do without.
    from offalign.policy.reward_model import Rewards

    self.options = options
    self._models: list[Any] = [
      Rewards(pathlib.Path(run), str(options.step), options.batch_size)
      for run in options.folders
    ]
    self._scales: np.ndarray | None = None
    self._reference: list[tuple[Prompt, str]] = []
    if len(self._models) > 1 and options.scale in (None, "heldout"):
      self._reference = _held_out(pathlib.Path(options.folders[0]))

  @property
  def spec(self) -> str:
    """See `Judge`."""
    default = RewardModel(run="-")
    chosen = dataclasses.asdict(self.options)
    named = {k: v for k, v in chosen.items() if k in ("run", "runs") and v}
    return spec.unparse(
      "reward_model",
      named
      | {
        k: v
        for k, v in chosen.items()
        if k not in ("run", "runs") and v != getattr(default, k)
      },
    )

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """See `Judge`.

    Counts "scored", the distinct completions; "cut_prompts" and
    "cut_completions", those longer than the run's own limits, and of an
    ensemble of the runs' that cut most; and "equal_tokens", comparisons of two
    texts that its template or limits make the same, which are ties.
    """
    cut: dict[str, int] = {}
    tokens: dict[tuple[Prompt, str], int] = {}

    def score(pairs: list[tuple[Prompt, str]]) -> np.ndarray:
      found, hashes, counted = self._of(pairs)
      cut.update(counted)
      tokens.update(zip(pairs, hashes.tolist(), strict=True))
      return found

    said = by_scores(score, prompts, a, b, tie=self.options.tie)
    cut["equal_tokens"] = sum(
      one != other and tokens[prompt, one] == tokens[prompt, other]
      for prompt, one, other in zip(prompts, a, b, strict=True)
    )
    return dataclasses.replace(said, counts={**said.counts, **cut})

  def scores(
    self, pairs: list[tuple[Prompt, str]]
  ) -> tuple[np.ndarray, dict[str, int]]:
    """Scores each (prompt, completion).

    Returns:
      Rewards [n], and "cut_prompts" and "cut_completions"; see `compare`.
    """
    found, _, cut = self._of(pairs)
    return found, cut

  def _of(
    self, pairs: list[tuple[Prompt, str]]
  ) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Rewards, hashes of what was read, and counts; see `Rewards.of`."""
    said = [model.of(pairs) for model in self._models]
    rewards, hashes, cut = said[0]
    if len(said) == 1:
      return rewards, hashes, cut
    for _, other, counted in said[1:]:
      hashes = hashes * np.uint64(0x100000001B3) ^ other
      cut = {name: max(n, counted[name]) for name, n in cut.items()}
    raw = np.array([each for each, _, _ in said], np.float64)
    combine = self.options.combine or "mean"
    k = 1.0 if self.options.k is None else self.options.k
    return combined(self._scaled(raw), combine, k), hashes, cut

  def _scaled(self, raw: np.ndarray) -> np.ndarray:
    """Rewards [M, n] on the scale that the models have in common."""
    if not self._reference:
      return raw
    if self._scales is None:
      known = [model.of(self._reference)[0] for model in self._models]
      self._scales = common_scale(np.array(known, np.float64))
    shift, stretch = self._scales
    return shift[:, None] + stretch[:, None] * raw


def combined(rewards: np.ndarray, combine: str, k: float = 1.0) -> np.ndarray:
  """One reward of each completion from those of several models.

  Args:
    rewards: [M, n], M models' of n completions.
    combine: "mean", "worst" or "mean_minus_sd".
    k: of "mean_minus_sd": how many standard deviations (ddof=1).

  Returns:
    [n].
  """
  if combine == "worst":
    return np.asarray(rewards.min(axis=0))
  mean = rewards.mean(axis=0)
  if combine == "mean":
    return np.asarray(mean)
  return np.asarray(mean - k * rewards.std(axis=0, ddof=1))


def common_scale(rewards: np.ndarray) -> np.ndarray:
  """Shifts and stretches that give models one mean and one deviation.

  A reward model is known up to a constant only, and how far apart its rewards
  are depends on how long it was trained. All get the mean of their means and
  the mean of their standard deviations, so that the unit stays theirs.

  Args:
    rewards: [M, n], M models' of the same n completions.

  Returns:
    [2, M]: model m's reward r becomes shift[m] + stretch[m] r.

  Raises:
    UserError: where a model gives all of them one reward.
  """
  means, deviations = rewards.mean(axis=1), rewards.std(axis=1)
  if not (deviations > 0).all():
    raise UserError(
      f"judge 'reward_model': of the ensemble, model "
      f"{int(np.argmin(deviations)) + 1} gives all held-out completions one "
      "reward, so it has no scale: leave it out, or choose scale=none"
    )
  stretch = deviations.mean() / deviations
  return np.array([means.mean() - stretch * means, stretch])


def _held_out(folder: pathlib.Path) -> list[tuple[Prompt, str]]:
  """Completions that a run holds out, with their prompts."""
  from offalign.data.reading.table import load
  from offalign.policy import held_out

  path = folder / held_out.FILE
  if not path.exists():
    raise UserError(
      f"judge 'reward_model': {folder} held out no rows, on which the ensemble "
      "is put on one scale: name a run first that did, or choose scale=none"
    )
  pairs = [
    (_prompt(record.prompt), text)
    for record in load(path).records
    for text in record.completions
  ]
  return list(dict.fromkeys(pairs))[:_REFERENCE]


def _prompt(prompt: Any) -> Prompt:
  if isinstance(prompt, str):
    return prompt
  return tuple((turn[0], turn[1]) for turn in prompt)
