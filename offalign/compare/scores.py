"""Mean scores of a judge that gives each completion a number."""

import dataclasses
import math

import numpy as np

_Z = 1.959963984540054  # of a normal's central 95%


@dataclasses.dataclass(frozen=True)
class MeanScore:
  """The mean of what a judge gives completions, one a prompt.

  Attributes:
    mean: over prompts.
    low: lower end of the 95% interval, mean -/+ 1.96 standard errors; NaN for
      a single prompt.
    high: upper end.
  """

  mean: float
  low: float
  high: float


def mean_score(scores: np.ndarray) -> MeanScore:
  """The mean of scores [N] with its interval."""
  mean, n = float(np.mean(scores)), len(scores)
  half = math.nan
  if n > 1:
    half = _Z * float(np.std(scores, ddof=1)) / math.sqrt(n)
  return MeanScore(mean, mean - half, mean + half)
