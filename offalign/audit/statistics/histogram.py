"""Histograms and quantiles: the distribution of some numbers."""

import dataclasses

import numpy as np

from offalign.audit.statistics.streaming import Moments

BINS = 10


@dataclasses.dataclass(frozen=True)
class Spread:
  """Distribution of some numbers: mean, quantiles and a histogram.

  Attributes:
    name: what the numbers are.
    n: how many numbers.
    mean, std, low, high: mean, standard deviation, least and largest.
    median, p95: from a sample where there are very many; p95 is the least
      number that 95% do not exceed.
    edges: [BINS + 1] of a histogram; [0, 1] where the numbers lie there.
    counts: [BINS].
  """

  name: str
  n: int
  mean: float
  std: float
  low: float
  high: float
  median: float
  p95: float
  edges: tuple[float, ...]
  counts: tuple[int, ...]


class Histogram:
  """Counts of equal bins whose ends are known."""

  def __init__(self, moments: Moments):
    """`moments`: of all numbers that will be added."""
    self._moments = moments
    low, high = moments.low, moments.high
    if low >= 0 and high <= 1:
      low, high = 0.0, 1.0
    elif low == high:
      low, high = low - 0.5, high + 0.5
    # Without numbers the ends are infinite, and there is nothing to count.
    ends = (low, high) if moments.n else (0.0, 1.0)
    self._edges = np.linspace(*ends, BINS + 1)
    self._counts = np.zeros(BINS, np.int64)

  def add(self, block: np.ndarray) -> None:
    """Counts a block of numbers, [N]."""
    self._counts += np.histogram(block, self._edges)[0]

  def spread(self, name: str, sample: np.ndarray) -> Spread:
    """Returns the distribution, with quantiles from a sample."""
    median = p95 = float("nan")
    if len(sample):
      median = float(np.median(sample))
      p95 = float(np.quantile(sample, 0.95, method="inverted_cdf"))
    moments = self._moments
    return Spread(
      name,
      moments.n,
      moments.mean,
      moments.std,
      moments.low,
      moments.high,
      median,
      p95,
      tuple(map(float, self._edges)),
      tuple(map(int, self._counts)),
    )
