"""A method's curve of win rate over KL, and its values at a stated KL."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

LEVELS = (0.25, 0.5, 1.0, 2.0)
"""Nats from the reference at which methods are compared."""

START = {"win_vs_sft": 0.5, "reward_gain": 0.0}
"""Where every curve begins: the reference itself, at no KL."""


def at(
  kl: Sequence[float], value: Sequence[float], level: float, start: float
) -> float:
  """A curve's value at one KL: linear in sqrt(KL), never beyond its ends.

  In sqrt(KL) the exact optima of one reward begin as a straight line. Points
  of the same method may come in any order; where two have one KL, their mean
  counts. A curve that turns back in KL is taken by its KL all the same: what
  is asked is what the method gives at this KL, whatever its option.

  Args:
    kl: of each point, nats; points of NaN are left out.
    value: of each point.
    level: nats, above 0.
    start: the value at no KL.

  Returns:
    NaN where the level is above every point.
  """
  points: dict[float, list[float]] = {0.0: [start]}
  for x, y in zip(kl, value, strict=True):
    if math.isfinite(x) and math.isfinite(y) and x > 0:
      points.setdefault(math.sqrt(x), []).append(y)
  roots = sorted(points)
  if math.sqrt(level) > roots[-1]:
    return math.nan
  means = [float(np.mean(points[root])) for root in roots]
  return float(np.interp(math.sqrt(level), roots, means))


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean over seeds.

  Attributes:
    value: the mean; NaN without seeds.
    error: its standard error; NaN with one seed.
    seeds: how many reached the level.
  """

  value: float
  error: float
  seeds: int


def mean(values: Iterable[float]) -> Mean:
  """The mean of what is finite, with its standard error over seeds."""
  found = np.array([value for value in values if math.isfinite(value)])
  if not len(found):
    return Mean(math.nan, math.nan, 0)
  spread = found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else None
  return Mean(
    float(found.mean()),
    math.nan if spread is None else float(spread),
    len(found),
  )


@dataclasses.dataclass(frozen=True)
class Difference:
  """Two methods at one KL, paired by seed.

  Attributes:
    mean: of a less b over the seeds that both reach.
    low: of the 95% interval (Student's t over seeds).
    high: of it.
    seeds: that both reach.
  """

  mean: float
  low: float
  high: float
  seeds: int


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
  """The paired difference of two methods' values, seed by seed.

  Args:
    a: one value a seed, NaN where the level is not reached.
    b: likewise, the same seeds.

  Returns:
    Bounds of NaN with fewer than three seeds in common.
  """
  from scipy import stats

  both = np.array(
    [x - y for x, y in zip(a, b, strict=True) if math.isfinite(x - y)]
  )
  n = len(both)
  if n < 3:
    middle = float(both.mean()) if n else math.nan
    return Difference(middle, math.nan, math.nan, n)
  middle = float(both.mean())
  half = float(stats.t.ppf(0.975, n - 1) * both.std(ddof=1) / math.sqrt(n))
  return Difference(middle, middle - half, middle + half, n)
