"""Outlying numbers: values so far from all others that only they count.

A reward of 1e30 among rewards of about 1 is mostly a sentinel or a fault of a
unit. After normalising, the others are one number, and the run learns that one
row.
"""

import numpy as np

FAR = 1000.0
"""Standard deviations of the other values. Heavy tails of real scores, such as
of a log-normal distribution with sigma 1, do not reach a tenth of that in 1e6
rows."""


def bounds(values: np.ndarray) -> tuple[float, float]:
  """Finds the bounds beyond which a value is outlying.

  The spread is the smaller of two: that of the values between the first and the
  last hundredth, if they differ, so that several outlying values do not hide
  each other; and that of all values but the most distant, which is for few
  values. Where the latter are all one number, it is that number's size, or 1.

  Args:
    values: [N], finite; a sample will do.

  Returns:
    The lowest and the highest value that is not outlying; infinite for N < 3.
  """
  if len(values) < 3:
    return -np.inf, np.inf
  values = np.asarray(values, np.float64)
  center = float(np.median(values))
  low, high = np.quantile(values, [0.01, 0.99], method="inverted_cdf")
  inner = values[(values >= low) & (values <= high)]
  rest = np.delete(values, np.abs(values - center).argmax())
  with np.errstate(over="ignore", invalid="ignore"):
    central, others = float(inner.std()), float(rest.std())
  spread = others or max(1.0, abs(center))
  if others and 0 < central < np.inf:
    spread = min(central, others)
  return center - FAR * spread, center + FAR * spread
