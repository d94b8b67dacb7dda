"""The AUC of scores: P(a good completion's score is above a bad one's)."""

import dataclasses

import numpy as np

_Z = 1.959963984540054  # of 95%


@dataclasses.dataclass(frozen=True)
class Auc:
  """An AUC with its interval.

  Attributes:
    value: in [0, 1]; 1/2 = no better than chance. Ties count half.
    low: of the 95% interval.
    high: of the 95% interval.
    good: how many good ones.
    bad: how many bad ones.
  """

  value: float
  low: float
  high: float
  good: int
  bad: int

  def __str__(self) -> str:
    return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(good: np.ndarray, bad: np.ndarray) -> Auc:
  """Computes the AUC: Mann and Whitney's U over the number of pairs.

  The interval is Newcombe's score interval (Statistics in Medicine 25, 2006,
  method 5), which holds for few rows and at 0 and 1 too, where DeLong's has
  no width.

  Args:
    good: [M], M > 0, their scores.
    bad: [N], N > 0.
  """
  m, n = len(good), len(bad)
  ordered = np.sort(bad)
  below = np.searchsorted(ordered, good, side="left")
  upto = np.searchsorted(ordered, good, side="right")
  value = float((below + upto).sum() / (2 * m * n))
  return Auc(
    value,
    _bound(value, 0.0, m, n),
    _bound(value, 1.0, m, n),
    m,
    n,
  )


def _bound(value: float, end: float, m: int, n: int) -> float:
  """The AUC between `value` and `end` that is just `_Z` away; by bisection."""
  near, away = value, end
  for _ in range(60):
    middle = (near + away) / 2
    if (value - middle) ** 2 <= _Z**2 * _variance(middle, m, n):
      near = middle
    else:
      away = middle
  return (near + away) / 2


def _variance(theta: float, m: int, n: int) -> float:
  """The variance of an estimate where the AUC is theta."""
  half = (m + n) / 2 - 1
  tail = (1 - theta) / (2 - theta) + theta / (1 + theta)
  return theta * (1 - theta) * (1 + half * tail) / (m * n)
