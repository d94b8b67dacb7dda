"""Student's t distribution: two-sided p-values and quantiles."""

import functools
import math
import statistics

import numpy as np

_NORMAL = 1e5  # degrees of freedom from which it is the normal distribution
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(100)


def p_value(t: float, df: float) -> float:
  """The chance of a value further from 0 than t.

  >>> round(p_value(12.706, 1), 4)
  0.05

  Args:
    t: finite, or infinite, which has no chance.
    df: degrees of freedom, at least 1.
  """
  t = abs(t)
  if df >= _NORMAL or math.isinf(t):
    return math.erfc(t / math.sqrt(2))
  # t = sqrt(df) tan(angle), of density cos(angle)^(df - 1) / B(1/2, df/2).
  start = math.atan(t / math.sqrt(df))
  end = min(math.pi / 2, start + 40 / math.sqrt(df))
  angles = start + (end - start) * (_NODES + 1) / 2
  area = (end - start) / 2 * float(_WEIGHTS @ np.cos(angles) ** (df - 1))
  log_beta = math.lgamma(0.5) + math.lgamma(df / 2) - math.lgamma(df / 2 + 0.5)
  return min(2 * area / math.exp(log_beta), 1.0)


@functools.lru_cache(maxsize=4096)
def quantile(df: float, confidence: float = 0.95) -> float:
  """The t that a two-sided interval of that confidence reaches to.

  >>> round(quantile(2), 3)
  4.303
  """
  t = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
  if df >= _NORMAL:
    return t
  # Newton's steps from below; the tail is convex, so none goes too far.
  log_scale = -_log_beta(df) - math.log(df) / 2
  for _ in range(200):
    density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t * t / df))
    step = (p_value(t, df) - (1 - confidence)) / (2 * density)
    t += step
    if abs(step) <= 1e-12 * t:
      break
  return t


def _log_beta(df: float) -> float:
  return math.lgamma(0.5) + math.lgamma(df / 2) - math.lgamma(df / 2 + 0.5)
