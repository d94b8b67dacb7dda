"""Measures of a data set: distributions of rewards, labels and lengths."""

import numpy as np

from offalign.audit.scan.entries import ENTRY, Spill
from offalign.audit.statistics.by_prompt import Groups
from offalign.audit.statistics.histogram import Histogram
from offalign.audit.statistics.streaming import (
  Moments,
  Sample,
  rank_correlation,
)
from offalign.data.reading.outliers import bounds

SIDES = ("chosen", "rejected")


class Measures:
  """Computes all measures from entries, in two passes over the parts.

  Attributes:
    values: the rewards (or labels), [one] or [chosen, rejected].
    words: of prompts (of rows) and completions, or of the two sides.
    positive: completions labelled good.
    negative: labelled bad.
    groups: sums over prompts.
    outlying: `ENTRY` rows whose value is far from all others; see
      `offalign.data.reading.outliers`.
    sample: `ENTRY` rows, for plots and quantiles.
    estimated: entries that were left out where the parts were full.
  """

  def __init__(self, entries: Spill, paired: bool, value_name: str):
    """`value_name`: "reward" or "label"."""
    self.positive = self.negative = 0
    self.groups = Groups()
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


class _Bins:
  def __init__(self, rewards: list[Moments], words: list[Moments]):
    self.rewards = [Histogram(moments) for moments in rewards]
    self.words = [Histogram(moments) for moments in words]
