"""Agreement of raters beyond chance: Cohen's and Fleiss' kappa."""

from collections.abc import Hashable, Sequence

import numpy as np


def cohen(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
  """Cohen's (1960) kappa of two raters of the same items.

  1 is full agreement, 0 that of chance; NaN where both gave one and the same
  verdict to all, so that chance agrees as well.

  >>> round(cohen("aabb", "aaba"), 3)
  0.5

  Args:
    a: [N] verdicts.
    b: [N] verdicts on the same items.
  """
  if len(a) != len(b) or not len(a):
    raise ValueError(f"{len(a)} and {len(b)} verdicts")
  kinds = sorted({*a, *b}, key=repr)
  first = np.array([[x == kind for kind in kinds] for x in a], float)
  second = np.array([[x == kind for kind in kinds] for x in b], float)
  agreed = float((first * second).sum()) / len(a)
  chance = float(first.mean(axis=0) @ second.mean(axis=0))
  return _beyond(agreed, chance)


def fleiss(counts: np.ndarray) -> float:
  """Fleiss' (1971) kappa of several raters, not always the same ones.

  Args:
    counts: [N, C], how many raters gave item i the verdict c; every item has
      the same number of raters, 2 or more.

  Returns:
    Kappa; NaN where all verdicts are one.
  """
  counts = np.asarray(counts, np.float64)
  raters = counts.sum(axis=1)
  if not len(counts) or raters[0] < 2 or (raters != raters[0]).any():
    raise ValueError("every item has the same number of raters, 2 or more")
  n = raters[0]
  agreed = float(((counts**2).sum(axis=1) - n).mean() / (n * (n - 1)))
  shares = counts.sum(axis=0) / counts.sum()
  return _beyond(agreed, float(shares @ shares))


def _beyond(agreed: float, chance: float) -> float:
  return (agreed - chance) / (1 - chance) if chance < 1 else float("nan")
