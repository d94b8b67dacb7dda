"""Measures of a data set: distributions of values, lengths and repeats."""

import dataclasses

import numpy as np

from offalign.audit.groups import Groups
from offalign.audit.moments import Moments, Sample, rank_correlation
from offalign.audit.repeats import Repeats
from offalign.audit.spill import ENTRY, Spill
from offalign.data.reading.outliers import bounds

BINS = 10
SIDES = ("chosen", "rejected")


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


class Measures:
  """Computes all measures from entries, in two passes over the parts.

  Attributes:
    values: the rewards (or labels), [one] or [chosen, rejected].
    words: of prompts (of rows) and completions, or of the two sides.
    positive: completions labelled good.
    negative: labelled bad.
    groups: sums over prompts.
    repeats: what occurs more than once.
    outlying: `ENTRY` rows whose value is far from all others; see
      `offalign.data.reading.outliers`.
    sample: `ENTRY` rows, for plots and quantiles.
    estimated: entries that were left out where the parts were full.
  """

  def __init__(self, entries: Spill, paired: bool, value_name: str):
    """`value_name`: "reward" or "label"."""
    self.positive = self.negative = 0
    self.groups, self.repeats = Groups(), Repeats()
    self.sample = Sample(ENTRY)
    self.estimated = entries.left_out
    self._paired = paired
    sides = (0, 1) if paired else (None,)
    rewards = [Moments() for _ in sides]
    words = [Moments() for _ in (None, *sides)]
    everything = Moments()
    for part in entries.parts():
      self.sample.add(part)
      self.positive += int((part["label"] == 1).sum())
      self.negative += int((part["label"] == 0).sum())
      for i, side in enumerate(sides):
        of_side = _of(part, side)
        rewards[i].add(_valued(of_side))
        words[i + 1].add(of_side["words"].astype(float))
      words[0].add(part["prompt_words"][part["side"] == 0].astype(float))
      everything.add(_valued(part))
    bins = _Bins(rewards, words)
    low, high = bounds(_valued(self.sample.rows))
    outlying = []
    for part in entries.parts():
      outlying.append(part[(part["value"] < low) | (part["value"] > high)])
      self.groups.add(part, paired, everything)
      self.repeats.add(part, paired)
      for i, side in enumerate(sides):
        of_side = _of(part, side)
        bins.rewards[i].add(_valued(of_side))
        bins.words[i + 1].add(of_side["words"])
      bins.words[0].add(part["prompt_words"][part["side"] == 0])
    self.outlying = np.sort(np.concatenate(outlying), order=("row", "side"))
    named = SIDES if paired else ("completion",)
    prefixed = [f"{side}_{value_name}" for side in SIDES]
    value_names = prefixed if paired else [value_name]
    rows = self.sample.rows
    self.values = [
      bins.rewards[i].spread(value_names[i], _valued(_of(rows, side)))
      for i, side in enumerate(sides)
      if rewards[i].n
    ]
    of_prompts = rows["prompt_words"][rows["side"] == 0]
    self.words = [bins.words[0].spread("prompt", of_prompts)] + [
      bins.words[i + 1].spread(named[i], _of(rows, side)["words"])
      for i, side in enumerate(sides)
    ]

  @property
  def length_correlation(self) -> float | None:
    """Spearman's correlation of words and values over (sampled) completions."""
    rows = self.sample.rows
    rows = rows[~np.isnan(rows["value"])]
    return rank_correlation(rows["words"], rows["value"])


def _of(part: np.ndarray, side: int | None) -> np.ndarray:
  return part if side is None else part[part["side"] == side]


def _valued(part: np.ndarray) -> np.ndarray:
  return part["value"][~np.isnan(part["value"])]


class _Histogram:
  """Histogram of equal bins whose ends are known."""

  def __init__(self, moments: Moments):
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


class _Bins:
  def __init__(self, rewards: list[Moments], words: list[Moments]):
    self.rewards = [_Histogram(moments) for moments in rewards]
    self.words = [_Histogram(moments) for moments in words]
