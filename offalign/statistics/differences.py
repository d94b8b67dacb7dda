"""Means over prompts and seeds, and paired differences of two methods.

A method's outcomes are a table [S, N]: S seeds, N prompts, the same prompts in
the same order for every method that it is compared with; NaN where there is
no outcome. A number that is known for each seed alone is a table [S, 1].

Prompts are paired: the difference is taken on each, so that what makes a
prompt hard for both cancels. Seeds are not, since two methods share a log but
not its luck.
"""

import dataclasses
import math

import numpy as np

from offalign.statistics import student


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A mean, or a difference of means, with its standard error.

  Attributes:
    mean: of all outcomes.
    se: its standard error over seeds and prompts; NaN where one value is all
      there is.
    df: its degrees of freedom, Satterthwaite's (1946).
    low: lower end of the 95% interval, mean - t se; NaN without `se`.
    high: upper end.
    p: two-sided p-value of the mean being 0.
    prompts: how many are in it; 1 where outcomes of prompts are not known.
    seeds: how many seeds of either side are; where it is (1, 1) or (1, 0) the
      error is over prompts alone, and another seed may differ by more.
  """

  mean: float
  se: float
  df: float
  low: float
  high: float
  p: float
  prompts: int
  seeds: tuple[int, int]


def mean(table: np.ndarray) -> Estimate:
  """The mean of one method over seeds and prompts; see `difference`.

  Args:
    table: [S, N].
  """
  return _estimate([(_table(table), 1.0)])


def difference(a: np.ndarray, b: np.ndarray) -> Estimate:
  """The mean of a less that of b, paired by prompt.

  The squared error is

    var(means of a's seeds) / S_a + var(means of b's seeds) / S_b
      + var(differences of prompts) / N - what is in both of these,

  the last by the residuals of seeds and prompts; it is never less than any of
  the others. Where one side has one seed, it is taken to vary as the other
  does.

  >>> d = difference([[1, 1, 0, 1]], [[0, 1, 0, 0]])
  >>> round(d.mean, 2), round(d.se, 3), d.prompts
  (0.5, 0.289, 4)

  Args:
    a: [S_a, N].
    b: [S_b, N], of the same prompts.
  """
  first, second = _table(a), _table(b)
  if first.shape[1] != second.shape[1]:
    raise ValueError(f"{first.shape[1]} and {second.shape[1]} prompts")
  return _estimate([(first, 1.0), (second, -1.0)])


def bootstrap(
  a: np.ndarray,
  b: np.ndarray | None = None,
  *,
  draws: int = 2000,
  seed: int = 0,
) -> np.ndarray:
  """Means of resamples of seeds and of prompts, [draws].

  Prompts are drawn once for both sides, seeds for each. With S seeds the
  spread over them comes out short by a factor of sqrt((S - 1) / S), so that
  quantiles of these means are too narrow an interval for a handful of seeds:
  `mean` and `difference` are not.

  Args:
    a: [S_a, N].
    b: [S_b, N], to be taken from a's; None for the mean of a alone.
    draws: how many.
    seed: of the resampling.
  """
  tables = [(_table(a), 1.0)] + ([] if b is None else [(_table(b), -1.0)])
  tables = _known(tables)
  n = tables[0][0].shape[1]
  rng = np.random.default_rng(seed)
  prompts = rng.multinomial(n, np.full(n, 1 / n), draws) / n
  out = np.zeros(draws)
  for table, sign in tables:
    s = len(table)
    seeds = rng.multinomial(s, np.full(s, 1 / s), draws) / s
    out += sign * np.einsum("rs,sn,rn->r", seeds, table, prompts, optimize=True)
  return out


def _table(values: np.ndarray) -> np.ndarray:
  table = np.asarray(values, np.float64)
  if table.ndim != 2 or not table.size:
    raise ValueError(f"outcomes are [seeds, prompts], not {table.shape}")
  return table


def _known(
  tables: list[tuple[np.ndarray, float]],
) -> list[tuple[np.ndarray, float]]:
  """Keeps the prompts that have an outcome everywhere."""
  known = np.all([~np.isnan(t).any(axis=0) for t, _ in tables], axis=0)
  return [(table[:, known], sign) for table, sign in tables]


def _estimate(tables: list[tuple[np.ndarray, float]]) -> Estimate:
  tables = _known(tables)
  n = tables[0][0].shape[1]
  seeds = (len(tables[0][0]), len(tables[1][0]) if len(tables) > 1 else 0)
  if not n:
    nan = math.nan
    return Estimate(nan, nan, nan, nan, nan, 1.0, 0, seeds)
  by_prompt = sum(sign * table.mean(axis=0) for table, sign in tables)
  middle = float(np.mean(by_prompt))
  parts: list[tuple[float, float]] = []  # variance, degrees of freedom
  twice = 0.0
  repeated = [table for table, _ in tables if len(table) > 1]
  for table, _ in tables:
    like = table if len(table) > 1 else (repeated[0] if repeated else table)
    s = len(like)
    if s < 2:
      continue
    means = like.mean(axis=1)
    parts.append((float(means.var(ddof=1)) / len(table), s - 1))
    if n > 1:
      rest = like - means[:, None] - like.mean(axis=0) + like.mean()
      noise = float((rest**2).sum()) / ((s - 1) * (n - 1))
      twice += noise / (len(table) * n)
  over_prompts = float(np.var(by_prompt, ddof=1)) / n if n > 1 else 0.0
  if n > 1:
    parts.append((max(over_prompts - twice, 0.0), n - 1))
  if not parts:
    nan = math.nan
    return Estimate(middle, nan, nan, nan, nan, 1.0, n, seeds)
  total = sum(v for v, _ in parts)
  squares = sum(v * v / df for v, df in parts)
  least = min(df for _, df in parts)
  df = max(total * total / squares, least) if squares else least
  se = math.sqrt(max(total, over_prompts))
  half = student.quantile(round(df, 3)) * se
  if se > 0:
    p = student.p_value(middle / se, df)
  else:  # not one prompt or seed differs from another
    p = 1.0 if middle == 0 else 0.0
  return Estimate(middle, se, df, middle - half, middle + half, p, n, seeds)
