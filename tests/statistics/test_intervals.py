"""Intervals against statsmodels, and how often they hold the truth."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from offalign.statistics import intervals
from offalign.statistics.intervals import of_mean, wilson


def test_the_examples_hold():
  assert doctest.testmod(intervals).failed == 0


@given(st.integers(1, 400), st.data())
def test_of_wins_and_losses_it_is_wilsons(n, data):
  wins = data.draw(st.integers(0, n))
  theirs = proportion_confint(wins, n, method="wilson")
  values = np.repeat([1.0, 0.0], [wins, n - wins])
  assert of_mean(values) == pytest.approx(theirs, abs=1e-12)


@given(st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1]), min_size=1))
def test_it_is_never_wider_than_wilsons_and_symmetric(values):
  values = np.array(values, float)
  low, high = of_mean(values)
  plain = wilson(values.mean(), len(values))
  assert plain[0] - 1e-12 <= low <= values.mean() + 1e-12
  assert values.mean() - 1e-12 <= high <= plain[1] + 1e-12
  other = of_mean(1 - values)
  assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high))


# (win, tie, loss) by chance, and how many prompts.
CASES = [
  (0.2, 0.6, 0.2, 100),
  (0.05, 0.9, 0.05, 200),
  (0.08, 0.9, 0.02, 1000),
  (0.6, 0.3, 0.1, 100),
  (0.5, 0.0, 0.5, 60),
  (0.82, 0.1, 0.08, 1000),
]


@pytest.mark.parametrize(("win", "tie", "loss", "n"), CASES)
def test_it_holds_the_truth_nineteen_times_of_twenty(win, tie, loss, n):
  rng = np.random.default_rng(0)
  truth, held, widths, plain = win + tie / 2, [], [], []
  for counts in rng.multinomial(n, [win, tie, loss], 2000):
    values = np.repeat([1.0, 0.5, 0.0], counts)
    low, high = of_mean(values)
    held.append(low <= truth <= high)
    widths.append(high - low)
    ends = wilson(values.mean(), n)
    plain.append(ends[1] - ends[0])
  assert 0.93 < np.mean(held) < 0.98
  # The variance's share of the binomial one is what ties leave.
  share = (win + tie / 4 - truth**2) / (truth * (1 - truth))
  wanted = np.sqrt(share) * np.mean(plain)
  assert np.mean(widths) == pytest.approx(wanted, rel=0.12)


def test_ties_alone_leave_an_interval_of_some_width():
  low, high = of_mean(np.full(100, 0.5))
  # 3 of 100 decided at most, by the rule of three, gives .017.
  assert 0.01 < 0.5 - low < 0.03
  assert high - 0.5 == pytest.approx(0.5 - low)
