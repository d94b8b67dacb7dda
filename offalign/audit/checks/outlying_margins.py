"""Margins so far from all others that only they would count."""

import heapq

import numpy as np

from offalign.audit.findings import LISTED, Finding
from offalign.data.reading.outliers import FAR, bounds
from offalign.data.reading.records import Record, count

_SAMPLE = 100_000  # margins that the bounds are of: the first ones
_KEPT = 1000  # of the largest, which are looked at


class OutlyingMargins:
  """Looks for outlying values in the column `margin` of pairs."""

  def __init__(self) -> None:
    self._sample: list[float] = []
    self._far: list[tuple[float, int, float, str]] = []

  def see(self, record: Record, where: str, at: int) -> None:
    """Takes a record's margin; see `Check`."""
    if record.margin is None:
      return
    if len(self._sample) < _SAMPLE:
      self._sample.append(record.margin)
    one = (abs(record.margin), -at, record.margin, where)
    if len(self._far) < _KEPT:
      heapq.heappush(self._far, one)
    elif one > self._far[0]:
      heapq.heapreplace(self._far, one)

  def findings(self) -> list[Finding]:
    """Warns of margins that are far from all others."""
    low, high = bounds(np.array(self._sample))
    far = sorted(
      (-order, where, margin)
      for _, order, margin, where in self._far
      if not low <= margin <= high
    )
    if not far:
      return []
    return [
      Finding(
        "warning",
        "outlying_margins",
        f"{count(len(far), 'margin')} more than {FAR:,.0f} standard "
        "deviations from the others, so that the others count for nothing",
        "correct them, or leave these rows out",
        len(far),
        tuple(f"{where}: {margin:g}" for _, where, margin in far[:LISTED]),
      )
    ]
