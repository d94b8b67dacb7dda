"""Judge by a reward model that offalign trained, with loss bradley_terry."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from offalign import spec
from offalign.errors import UserError
from offalign.judges.base import Prompt, Verdicts, by_scores


@dataclasses.dataclass(frozen=True)
class RewardModel:
  """Which run's reward model judges.

  Attributes:
    run: the run folder.
    step: of the checkpoint: "newest", "best" or a number.
    tie: rewards that differ by no more are a tie.
    batch_size: completions scored at a time.
  """

  run: str = ""
  step: str | int = "newest"
  tie: float = 0.0
  batch_size: int = 16

  def __post_init__(self) -> None:
    if not self.run:
      raise UserError(
        "judge 'reward_model' needs a run: write it like "
        "reward_model(run='runs/rm')"
      )
    if self.tie < 0 or self.batch_size < 1:
      raise UserError(
        "judge 'reward_model': tie must be 0 or more and batch_size at least "
        f"1, not {self.tie} and {self.batch_size}"
      )


class RewardModelJudge:
  """Prefers the completion of the higher reward; see `RewardModel`.

  Attributes:
    options: which run's.
  """

  def __init__(self, options: RewardModel):
    """Reads the run.

    Raises:
      UserError: where there is none, or it trained no reward model.
    """
    # Imported here: it brings jax, which other judges do without.
    from offalign.policy.reward_model import Rewards

    self.options = options
    self._rewards = Rewards(
      pathlib.Path(options.run), str(options.step), options.batch_size
    )

  @property
  def spec(self) -> str:
    """See `Judge`."""
    default, chosen = RewardModel(run="-"), dataclasses.asdict(self.options)
    return spec.unparse(
      "reward_model",
      {k: v for k, v in chosen.items() if v != getattr(default, k)},
    )

  def scores(self, pairs: list[tuple[Prompt, str]]) -> np.ndarray:
    """Returns the reward of each (prompt, completion), float32 [n]."""
    return self._rewards.of(pairs)[0]

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """See `Judge`.

    Counts "scored", the distinct completions; "cut_prompts" and
    "cut_completions", those longer than the run's own limits; and
    "equal_tokens", comparisons of two texts that its template or limits make
    the same, which are ties.
    """
    cut: dict[str, int] = {}
    tokens: dict[tuple[Prompt, str], int] = {}

    def score(pairs: list[tuple[Prompt, str]]) -> np.ndarray:
      found, hashes, counted = self._rewards.of(pairs)
      cut.update(counted)
      tokens.update(zip(pairs, hashes.tolist(), strict=True))
      return found

    said = by_scores(score, prompts, a, b, tie=self.options.tie)
    cut["equal_tokens"] = sum(
      one != other and tokens[prompt, one] == tokens[prompt, other]
      for prompt, one, other in zip(prompts, a, b, strict=True)
    )
    return dataclasses.replace(said, counts={**said.counts, **cut})
