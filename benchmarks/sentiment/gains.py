"""Gains over the base model, with their intervals."""

import dataclasses
import itertools

import numpy as np

RESAMPLES = 4000


@dataclasses.dataclass(frozen=True)
class Gain:
  """A difference of mean scores.

  Attributes:
    mean: the difference.
    low: lower end of the 95% interval.
    high: upper end.
  """

  mean: float
  low: float
  high: float

  def __str__(self) -> str:
    return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

  @property
  def verdict(self) -> str:
    """Whether it can be told from no difference."""
    if self.low > 0:
      return "better"
    return "worse" if self.high < 0 else "within the noise"


def gain(after: np.ndarray, before: np.ndarray, *, seed: int = 0) -> Gain:
  """The gain of a method, paired by prompt, by bootstrap.

  Prompts are drawn with replacement, the same for both sides, and runs and
  draws of the base model too, each side for itself. Of three runs, a
  bootstrap makes too little: read the interval as the least that it can be.

  Args:
    after: [S, N] scores of S runs on N prompts.
    before: [D, N] scores of D draws of the base model.
    seed: of the resamples.
  """
  rng = np.random.default_rng(seed)
  prompts = after.shape[1]
  picked = rng.integers(prompts, size=(RESAMPLES, prompts))
  drawn = _resampled(after, picked, rng) - _resampled(before, picked, rng)
  low, high = np.quantile(drawn, [0.025, 0.975])
  return Gain(float(after.mean() - before.mean()), float(low), float(high))


def _resampled(
  scores: np.ndarray, picked: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
  """Means of resamples of the rows and of the prompts, [R]."""
  rows = rng.integers(len(scores), size=(len(picked), len(scores)))
  means = np.stack([each[picked].mean(axis=1) for each in scores])
  return np.take_along_axis(means.T, rows, axis=1).mean(axis=1)


def distinct(texts: list[str]) -> float:
  """The share of pairs of adjacent words that occur once or for the first time.

  A policy that writes the same phrase after every opening has few.

  Args:
    texts: completions.
  """
  pairs = [
    pair
    for text in texts
    for words in [text.lower().split()]
    for pair in itertools.pairwise(words)
  ]
  return len(set(pairs)) / max(len(pairs), 1)
