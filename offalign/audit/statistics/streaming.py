"""Streaming means, variances and samples of data larger than memory."""

import dataclasses

import numpy as np

SAMPLE = 1 << 16
"""Size of a sample; of no more values than this, it is all of them."""


@dataclasses.dataclass
class Moments:
  """Count, mean and spread of numbers that come in blocks.

  The blocks are merged as in Chan, Golub and LeVeque (1979), so that no
  digits are lost to a large mean.

  Attributes:
    n: how many numbers.
    mean: the mean.
    squares: the sum of squared distances from the mean.
    low: the smallest number.
    high: the largest number.
  """

  n: int = 0
  mean: float = 0.0
  squares: float = 0.0
  low: float = float("inf")
  high: float = float("-inf")

  def add(self, block: np.ndarray) -> None:
    """Adds a block of finite numbers, [N]."""
    if not len(block):
      return
    with np.errstate(over="ignore", invalid="ignore"):
      mean = float(block.mean())
      squares = float(np.square(block - mean).sum())
      n = self.n + len(block)
      step = mean - self.mean
      self.squares += squares + step * step * self.n * len(block) / n
      self.mean += step * len(block) / n
    self.n = n
    self.low = min(self.low, float(block.min()))
    self.high = max(self.high, float(block.max()))

  @property
  def std(self) -> float:
    """Standard deviation of the numbers (over n, as in `data.normalize`)."""
    return (self.squares / self.n) ** 0.5 if self.n else float("nan")


class Sample:
  """A uniform sample of rows of an array; all of them while they are few.

  Every row gets a number from a seeded generator, and those of the smallest
  are kept.

  Attributes:
    seen: how many rows were added.
    rows: the sample, [min(seen, SAMPLE)], in the order they were added while
      that is all of them.
  """

  def __init__(self, dtype: np.dtype, seed: int = 0):
    self.seen = 0
    self.rows = np.zeros(0, dtype)
    self._keys = np.zeros(0)
    self._random = np.random.default_rng(seed)

  def add(self, block: np.ndarray) -> None:
    """Adds rows, [N]."""
    self.seen += len(block)
    keys = np.concatenate([self._keys, self._random.random(len(block))])
    rows = np.concatenate([self.rows, block])
    if len(rows) > SAMPLE:
      kept = np.argpartition(keys, SAMPLE)[:SAMPLE]
      keys, rows = keys[kept], rows[kept]
    self._keys, self.rows = keys, rows

  @property
  def exact(self) -> bool:
    """Whether the sample holds every row."""
    return self.seen <= SAMPLE


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
  """Spearman's correlation, ties at their mean rank; None where undefined."""
  if len(x) < 3:
    return None
  a, b = _ranks(x), _ranks(y)
  if a.std() == 0 or b.std() == 0:
    return None
  return float(np.corrcoef(a, b)[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
  _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
  ends = np.cumsum(counts)
  return (ends - (counts - 1) / 2)[inverse]
