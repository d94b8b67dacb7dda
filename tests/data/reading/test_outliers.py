"""Outlying values: sentinels and faults of a unit, never a heavy tail."""

import numpy as np
import pytest

from offalign.data.reading.outliers import bounds


def outside(values):
  low, high = bounds(np.array(values, float))
  return [x for x in values if not low <= x <= high]


@pytest.mark.parametrize(
  ("values", "found"),
  [
    ([0.0, 1.0, 2.0, 3.0, 1e30, 5.0], [1e30]),
    ([0.0, 1.0, 2.0, 3.0, -1e30, 5.0], [-1e30]),
    ([0.5] * 20 + [1e30], [1e30]),
    ([0.0, 0.2, 0.4, 0.6, 0.8, -9999.0], [-9999.0]),
    ([*np.linspace(0, 1, 300), 1e9, 1e9], [1e9, 1e9]),
    ([0.0, 1.0] * 10, []),
    ([0.0] * 50 + [1.0], []),
    ([1e30, 2e30, 3e30], []),
    ([1.0, 1e30], []),
    ([5.0] * 4, []),
    ([0.0] * 90 + [5000.0, 20.0, 900.0], []),
    ([1e-6, 2e-6, 3e-6] * 40 + [0.9] * 6, []),
  ],
)
def test_what_is_outlying(values, found):
  assert outside(values) == found


def test_heavy_tails_are_no_faults():
  random = np.random.default_rng(0)
  assert outside(random.lognormal(0, 1, 100_000)) == []
  assert outside(random.standard_t(3, 100_000)) == []
