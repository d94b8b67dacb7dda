"""Student's t against scipy."""

import doctest

import pytest
from scipy import stats

from offalign.statistics import student


def test_the_examples_hold():
  assert doctest.testmod(student).failed == 0


@pytest.mark.parametrize("df", [1, 1.3, 2, 2.7, 4, 9.5, 40, 333, 2e4, 1e6])
def test_it_is_that_of_scipy(df):
  for t in (0.0, 0.01, 0.5, 1.96, 5.0, 30.0):
    wanted = 2 * stats.t.sf(t, df)
    assert student.p_value(t, df) == pytest.approx(wanted, rel=2e-3, abs=1e-9)
    assert student.p_value(-t, df) == student.p_value(t, df)
  for confidence in (0.8, 0.95, 0.999):
    wanted = stats.t.ppf(0.5 + confidence / 2, df)
    assert student.quantile(df, confidence) == pytest.approx(wanted, rel=1e-3)


def test_an_infinite_t_has_no_chance():
  assert student.p_value(float("inf"), 3) == 0.0
