"""Paired differences against scipy, and how often they hold the truth."""

import doctest
import math

import numpy as np
import pytest
from scipy import stats

from offalign.statistics import differences
from offalign.statistics.differences import bootstrap, difference, mean


def test_the_examples_hold():
  assert doctest.testmod(differences).failed == 0


def drawn(rng, seeds, n, *, seed_sd, prompt_sd, noise, at=0.0):
  shape = (seeds, n)
  return (
    at
    + rng.normal(0, seed_sd, (seeds, 1))
    + rng.normal(0, prompt_sd, (1, n))
    + rng.normal(0, noise, shape)
  )


def test_one_seed_is_the_paired_t_test_of_scipy():
  rng = np.random.default_rng(0)
  a, b = rng.random((2, 1, 50))
  found = difference(a, b)
  theirs = stats.ttest_rel(a[0], b[0])
  ends = theirs.confidence_interval()
  assert found.mean == pytest.approx((a - b).mean())
  assert found.se == pytest.approx(stats.sem((a - b)[0]))
  assert found.df == 49
  assert found.p == pytest.approx(theirs.pvalue, rel=1e-4)
  assert (found.low, found.high) == pytest.approx(tuple(ends), rel=1e-3)
  assert found.seeds == (1, 1)


def test_seeds_alone_are_welchs_t_test_of_scipy():
  rng = np.random.default_rng(1)
  a, b = rng.normal(0, 1, (3, 1)), rng.normal(1, 2, (5, 1))
  found = difference(a, b)
  theirs = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
  assert found.p == pytest.approx(theirs.pvalue, rel=1e-3)
  assert found.df == pytest.approx(theirs.df)
  alone = mean(a)
  assert alone.se == pytest.approx(stats.sem(a[:, 0]))
  assert alone.df == 2


def test_exchanging_the_methods_changes_the_sign_alone():
  rng = np.random.default_rng(2)
  a, b = rng.random((3, 40)), rng.random((2, 40))
  one, other = difference(a, b), difference(b, a)
  assert one.mean == pytest.approx(-other.mean)
  assert one.se == pytest.approx(other.se)
  assert one.low == pytest.approx(-other.high)


@pytest.mark.parametrize(
  "world",
  [
    {"seed_sd": 0.1, "prompt_sd": 0.0, "noise": 0.3},
    {"seed_sd": 0.0, "prompt_sd": 0.4, "noise": 0.2},
    {"seed_sd": 0.02, "prompt_sd": 0.3, "noise": 0.3},
  ],
)
def test_three_seeds_hold_the_truth_nineteen_times_of_twenty(world):
  rng = np.random.default_rng(3)
  held, naive = [], []
  for _ in range(400):
    hard = rng.normal(0, 0.5, (1, 150))  # of a prompt, for either method
    a = hard + drawn(rng, 3, 150, **world, at=0.1)
    b = hard + drawn(rng, 3, 150, **world)
    found = difference(a, b)
    held.append(found.low <= 0.1 <= found.high)
    if len(naive) < 100:
      low, high = np.quantile(bootstrap(a, b, draws=200), [0.025, 0.975])
      naive.append(low <= 0.1 <= high)
  assert 0.925 < np.mean(held) < 0.995
  if world["seed_sd"] and not world["prompt_sd"]:
    assert np.mean(naive) < 0.92  # as the docstring of bootstrap says


def test_with_many_seeds_the_bootstrap_has_the_same_error():
  rng = np.random.default_rng(4)
  world = {"seed_sd": 0.05, "prompt_sd": 0.4, "noise": 0.1}
  a, b = (drawn(rng, 30, 300, **world) for _ in range(2))
  found = difference(a, b)
  draws = bootstrap(a, b, draws=4000)
  assert draws.mean() == pytest.approx(found.mean, abs=0.002)
  assert draws.std() == pytest.approx(found.se, rel=0.06)
  theirs = stats.bootstrap(
    (a[0] - b[0],), np.mean, n_resamples=4000, random_state=0
  )
  ours = bootstrap(a[:1], b[:1], draws=4000).std()
  assert ours == pytest.approx(theirs.standard_error, rel=0.06)


def test_pairing_takes_out_what_makes_a_prompt_hard():
  rng = np.random.default_rng(5)
  hard = rng.normal(0, 1, (1, 400))
  a = hard + rng.normal(0, 0.1, (3, 400))
  b = hard + rng.normal(0, 0.1, (3, 400))
  apart = math.hypot(mean(a).se, mean(b).se)
  assert difference(a, b).se < apart / 5


def test_a_prompt_without_an_outcome_is_in_neither_mean():
  a = np.array([[1.0, 0.0, np.nan, 1.0]])
  b = np.array([[0.0, np.nan, 1.0, 0.0]])
  found = difference(a, b)
  assert (found.mean, found.prompts) == (1.0, 2)
  nothing = difference(a[:, 2:3], b[:, 2:3])
  assert (nothing.prompts, nothing.p) == (0, 1.0)
  assert math.isnan(nothing.mean)


def test_what_cannot_be_told_has_no_error():
  alone = difference([[1.0]], [[0.0]])
  assert (alone.mean, alone.p) == (1.0, 1.0)
  assert math.isnan(alone.se)
  same = difference([[1.0, 0.5, 0]], [[1.0, 0.5, 0]])
  assert (same.mean, same.se, same.p) == (0.0, 0.0, 1.0)
  # One side's single seed is taken to vary as the other's do.
  rng = np.random.default_rng(6)
  b = drawn(rng, 4, 50, seed_sd=1.0, prompt_sd=0.1, noise=0.1)
  assert difference(b[:1], b).se > b.mean(axis=1).std(ddof=1)


def test_tables_of_another_shape_are_refused():
  with pytest.raises(ValueError, match="3 and 2 prompts"):
    difference([[1, 2, 3]], [[1, 2]])
  with pytest.raises(ValueError, match="seeds, prompts"):
    mean([1, 2])
