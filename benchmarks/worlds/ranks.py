"""Rank correlations of two orders of the same methods, with intervals."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Interval:
  """A correlation with its 95% interval.

  Attributes:
    value: of the means.
    low: lower end.
    high: upper end.
  """

  value: float
  low: float
  high: float

  def __str__(self) -> str:
    return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Spearman's correlation, ties at their mean rank; NaN where all are tied.

  >>> float(spearman(np.array([1, 2, 3]), np.array([10, 20, 30])))
  1.0

  Args:
    a: [.., M].
    b: [.., M].
  """
  x, y = _centred(_ranks(a)), _centred(_ranks(b))
  return _ratio((x * y).sum(-1), (x * x).sum(-1) * (y * y).sum(-1))


def kendall(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Kendall's tau-b; NaN where all are tied.

  Args:
    a: [.., M].
    b: [.., M].
  """
  x, y = _signs(a), _signs(b)
  return _ratio(
    (x * y).sum((-2, -1)), np.abs(x).sum((-2, -1)) * np.abs(y).sum((-2, -1))
  )


def correlations(
  a: Sequence[np.ndarray],
  b: Sequence[np.ndarray],
  *,
  draws: int = 2000,
  seed: int = 0,
) -> tuple[Interval, Interval]:
  """Spearman's and Kendall's correlation of two boards, with intervals.

  Resamples the seeds of each method, and the prompts of each board once for
  all of its methods. A prompt that any method has no outcome on is left out.

  Args:
    a: a board's outcomes by method, [S, N] each.
    b: those of the same methods on another board.
    draws: of the bootstrap.
    seed: of the resampling.
  """
  rng = np.random.default_rng(seed)
  found = [_means(board, draws, rng) for board in (a, b)]
  means, drawn = zip(*found, strict=True)
  out = []
  for of in (spearman, kendall):
    value, spread = float(of(*means)), of(*drawn)
    known = spread[~np.isnan(spread)]
    ends = np.quantile(known, (0.025, 0.975)) if len(known) else (np.nan,) * 2
    out.append(Interval(value, float(ends[0]), float(ends[1])))
  return out[0], out[1]


def _means(
  tables: Sequence[np.ndarray], draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Means by method, [M], and those of resamples, [draws, M]."""
  known = np.all([~np.isnan(t).any(axis=0) for t in tables], axis=0)
  tables = [table[:, known] for table in tables]
  n = tables[0].shape[1]
  prompts = rng.multinomial(n, np.full(n, 1 / n), draws) / n
  drawn = np.empty((draws, len(tables)))
  for m, table in enumerate(tables):
    s = len(table)
    seeds = rng.multinomial(s, np.full(s, 1 / s), draws) / s
    drawn[:, m] = np.einsum("rs,sn,rn->r", seeds, table, prompts, optimize=True)
  return np.array([table.mean() for table in tables]), drawn


def _signs(values: np.ndarray) -> np.ndarray:
  return np.sign(values[..., :, None] - values[..., None, :])


def _ranks(values: np.ndarray) -> np.ndarray:
  return _signs(values).sum(-1)  # twice the rank, less a constant


def _centred(values: np.ndarray) -> np.ndarray:
  return values - values.mean(-1, keepdims=True)


def _ratio(top: np.ndarray, squared: np.ndarray) -> np.ndarray:
  with np.errstate(invalid="ignore", divide="ignore"):
    return np.where(squared > 0, top / np.sqrt(squared), np.nan)
