"""Means over seeds and prompts with their intervals, and what they tell apart.

Two things vary: another seed would have trained another policy, and other
prompts would have given other outcomes. The interval of a mean over both is the
root of the sum of the squares of two half-widths: Student's over the means of
the seeds, and the normal one over the means of the prompts. Each holds a part
of what is left within seed and prompt, which is so counted twice: the interval
is, if anything, wide. Of one seed, the first part is not known and left out.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
  """A mean with its interval.

  Attributes:
    mean: of all.
    low: of the interval; NaN where there is none, of one seed and no prompts.
    high: of the interval.
    seeds: how many.
  """

  mean: float
  low: float
  high: float
  seeds: int


def spread(
  values: np.ndarray, errors: np.ndarray | None = None, level: float = LEVEL
) -> Spread:
  """The mean over seeds and prompts, with its interval.

  Args:
    values: [S, N] of S seeds on the same N prompts, NaN where there is none;
      or [S] where prompts are not known one by one.
    errors: of values [S], their standard errors over prompts; None = 0.
    level: of the interval.
  """
  values = np.asarray(values, np.float64)
  table = values if values.ndim == 2 else values[:, None]
  seeds = np.nanmean(table, axis=1)
  over_prompts = math.nan
  if values.ndim == 2:
    known = table[:, ~np.isnan(table).all(axis=0)]
    prompts = np.nanmean(known, axis=0)
    if len(prompts) > 1:
      over_prompts = float(np.std(prompts, ddof=1)) / math.sqrt(len(prompts))
  elif errors is not None:
    # On the same prompts, seeds err alike: their mean is no surer than one.
    over_prompts = float(np.mean(errors))
  parts = [t_quantile(level, 10_000) * over_prompts]
  n = len(seeds)
  if n > 1:
    error = float(np.std(seeds, ddof=1)) / math.sqrt(n)
    parts.append(t_quantile(level, n - 1) * error)
  known_parts = [part for part in parts if not math.isnan(part)]
  half = math.hypot(*known_parts) if known_parts else math.nan
  mean = float(np.mean(seeds))
  return Spread(mean, mean - half, mean + half, n)


@dataclasses.dataclass(frozen=True)
class Values:
  """What one option reached.

  Attributes:
    seeds: which seeds, as many as there are rows.
    values: see `spread`.
    errors: see `spread`.
  """

  seeds: tuple[int, ...]
  values: np.ndarray
  errors: np.ndarray | None = None


def winner(options: Mapping[str, Values]) -> str | None:
  """The option that is better than every other; None where none is resolved.

  Options are compared on the seeds that both have, prompt by prompt. With k
  options, each of the k - 1 intervals is of 1 - 0.05 / (k - 1) (Bonferroni), as
  the best of many is chosen after looking.

  Args:
    options: higher is better.
  """
  if len(options) < 2:
    return None
  means = {name: float(np.nanmean(one.values)) for name, one in options.items()}
  best = max(means, key=lambda name: means[name])
  level = 1 - (1 - LEVEL) / (len(options) - 1)
  for name, other in options.items():
    if name == best:
      continue
    found = _difference(options[best], other, level)
    if found is None or not found.low > 0:
      return None
  return best


def _difference(one: Values, other: Values, level: float) -> Spread | None:
  """The mean difference on the seeds of both; None where they share none."""
  shared = [seed for seed in one.seeds if seed in other.seeds]
  if not shared:
    return None
  mine = [one.seeds.index(seed) for seed in shared]
  theirs = [other.seeds.index(seed) for seed in shared]
  gap = one.values[mine] - other.values[theirs]
  if gap.ndim == 2:
    judged = ~np.isnan(gap).all(axis=1)
    return spread(gap[judged], None, level) if judged.any() else None
  errors = None
  if one.errors is not None and other.errors is not None:
    errors = np.hypot(one.errors[mine], other.errors[theirs])
  return spread(gap, errors, level)


def t_quantile(level: float, freedom: int) -> float:
  """Half-width of the central `level` of Student's t, by bisection.

  >>> round(t_quantile(0.95, 2), 3), round(t_quantile(0.95, 10_000), 2)
  (4.303, 1.96)
  """
  low, high = 0.0, 1.0
  while _central(high, freedom) < level:
    high *= 2
  for _ in range(100):
    middle = (low + high) / 2
    low, high = (
      (middle, high) if _central(middle, freedom) < level else (low, middle)
    )
  return high


def _central(t: float, freedom: int) -> float:
  """P(|T| < t): Abramowitz and Stegun 26.7.3 and 26.7.4."""
  if freedom > 1000:  # normal, to 3 digits of the quantile
    return math.erf(t / math.sqrt(2))
  theta = math.atan(t / math.sqrt(freedom))
  cos2 = math.cos(theta) ** 2
  term, total = 1.0, 1.0
  odd = freedom % 2
  for i in range(2 + odd, freedom, 2):
    term *= cos2 * (i - 1) / i
    total += term
  if not odd:
    return math.sin(theta) * total
  if freedom == 1:
    return 2 / math.pi * theta
  return 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * total)


def values_of(rows: Sequence[tuple[int, Sequence[float]]]) -> Values:
  """Values of prompts: (seed, its value of each prompt) -> `Values`."""
  seeds = tuple(seed for seed, _ in rows)
  return Values(seeds, np.array([list(row) for _, row in rows], np.float64))
