"""Power: which difference so many prompts resolve, and how many one takes."""

import math

from offalign.statistics.intervals import critical

POWER = 0.8


def detectable(
  prompts: int, ties: float = 0.0, *, power: float = POWER, alpha: float = 0.05
) -> float:
  """The distance from 1/2 that a win rate resolves, two-sided.

  >>> round(detectable(348), 3)
  0.075

  Args:
    prompts: one comparison each, > 0.
    ties: the share of them that are ties, in [0, 1].
    power: the chance to see such a distance.
    alpha: the chance to see one where there is none.
  """
  return _reach(power, alpha) * math.sqrt((1 - ties) / 4 / prompts)


def prompts_needed(
  distance: float,
  ties: float = 0.0,
  *,
  power: float = POWER,
  alpha: float = 0.05,
) -> int:
  """How many prompts resolve a win rate at that distance from 1/2.

  >>> prompts_needed(0.1), prompts_needed(0.1, ties=0.5)
  (197, 99)

  Args:
    distance: of the win rate from 1/2, > 0.
    ties: see `detectable`.
    power: see `detectable`.
    alpha: see `detectable`.
  """
  exact = (1 - ties) / 4 * (_reach(power, alpha) / distance) ** 2
  return max(math.ceil(exact - 1e-9), 1)


def sentence(prompts: int, ties: float) -> str:
  """What so many prompts, with so many ties, can show; for a report."""
  noun = "prompt" if prompts == 1 else "prompts"
  if ties == 1:
    return (
      f"All of {prompts:,} {noun} are ties, which tell nothing apart, however "
      "many there are."
    )
  d = detectable(prompts, ties)
  if d >= 0.5:
    return f"{prompts:,} {noun} resolve no win rate from .5 at 80% power."
  return (
    f"With {prompts:,} {noun} of which {ties:.0%} are ties, a win rate that is "
    f"{d:.3f} or more away from .5 is seen with 80% power; half of that "
    f"distance takes {prompts_needed(d / 2, ties):,} prompts."
  )


def _reach(power: float, alpha: float) -> float:
  """Standard errors between the null and what is seen with that power."""
  return critical(1 - alpha) + critical(2 * power - 1)
