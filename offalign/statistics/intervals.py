"""Confidence intervals of means of values in [0, 1]: Wilson's, with ties."""

import math
import statistics

import numpy as np


def wilson(
  rate: float, n: float, confidence: float = 0.95
) -> tuple[float, float]:
  """Wilson's score interval (1927) of a mean of n values in {0, 1}.

  >>> tuple(round(x, 4) for x in wilson(0.5, 100))
  (0.4038, 0.5962)
  """
  z = critical(confidence)
  centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
  variance = max(rate * (1 - rate), 0.0) / n + z * z / (4 * n * n)
  half = z * math.sqrt(variance) / (1 + z * z / n)
  return max(centre - half, 0.0), min(centre + half, 1.0)


def of_mean(
  values: np.ndarray, confidence: float = 0.95
) -> tuple[float, float]:
  """Wilson's interval of a mean of values in [0, 1], as narrow as ties allow.

  Wilson's variance is that of values that are 0 or 1, which ties do not have:
  of 60% ties its interval is half as wide again as need be. Here n is raised
  by the ratio of that variance to the sample's, to which z^2 values of
  Wilson's own variance are added, so that n ties do not make an interval of no
  width. Of values that are all 0 or 1 the interval is Wilson's; it is never
  wider.

  >>> ties = np.repeat([0.0, 0.5, 1.0], [20, 60, 20])
  >>> tuple(round(x, 3) for x in of_mean(ties))
  (0.437, 0.563)

  Args:
    values: [N], N > 0, in [0, 1].
    confidence: in (0, 1).
  """
  values = np.asarray(values, np.float64)
  n, rate = len(values), float(values.mean())
  binomial = max(rate * (1 - rate), 0.0)
  if binomial == 0.0:
    return wilson(rate, n, confidence)
  added = critical(confidence) ** 2
  spread = (n * float(values.var()) + added * binomial) / (n + added)
  return wilson(rate, n * max(binomial / spread, 1.0), confidence)


def critical(confidence: float = 0.95) -> float:
  """The normal quantile of a two-sided interval.

  >>> round(critical(), 3)
  1.96
  """
  return statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
