"""Values at equal KL are read off, and never made up beyond a curve's end."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.matched_kl.curves import at, difference, mean


def test_a_curve_that_is_straight_in_the_root_of_kl_is_read_off_exactly():
  kl = [4.0, 0.16, 1.0, math.nan]
  value = [0.5 + 0.2 * math.sqrt(x) for x in kl]
  for level in (0.04, 0.25, 0.5, 2.0, 4.0):
    expected = 0.5 + 0.2 * math.sqrt(level)
    assert at(kl, value, level, 0.5) == pytest.approx(expected, abs=1e-12)


def test_beyond_its_end_a_curve_has_no_value():
  assert math.isnan(at([0.3, 0.9], [0.6, 0.7], 1.0, 0.5))
  assert math.isnan(at([], [], 0.25, 0.5))


def test_points_of_one_kl_count_by_their_mean():
  assert at([1.0, 1.0], [0.6, 0.8], 1.0, 0.5) == pytest.approx(0.7)


def test_a_mean_has_the_standard_error_of_its_seeds():
  values = [0.6, 0.7, math.nan, 0.65]
  found = mean(values)
  sure = np.array([0.6, 0.7, 0.65])
  assert found.seeds == 3
  assert found.value == pytest.approx(sure.mean())
  assert found.error == pytest.approx(stats.sem(sure))
  assert mean([math.nan]).seeds == 0


def test_a_difference_is_paired_by_seed():
  rng = np.random.default_rng(0)
  luck = rng.normal(size=8)
  a, b = luck + 0.1, luck + rng.normal(scale=0.01, size=8)
  a[3] = math.nan
  found = difference(a, b)
  kept = np.delete(a - b, 3)
  low, high = stats.ttest_1samp(kept, 0).confidence_interval(0.95)
  assert found.seeds == 7
  assert (found.low, found.high) == pytest.approx((low, high))
  assert math.isnan(difference([0.1, 0.2], [0.0, 0.1]).low)
