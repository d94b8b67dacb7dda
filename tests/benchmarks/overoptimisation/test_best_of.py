"""Best of n from a pool: against enumeration, and its KL with ties."""

import itertools

import numpy as np
import pytest

from benchmarks.overoptimisation import best_of
from offalign.generation.best_of import kl_bound, kl_estimate


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_estimate_is_the_mean_over_all_draws_of_n(n):
  rng = np.random.default_rng(0)
  scores, gold = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
  found = best_of.curve(scores, gold, n)
  for row in range(2):
    chosen = [
      gold[row, max(draw, key=lambda i: scores[row, i])]
      for draw in itertools.combinations(range(5), n)
    ]
    assert found[row] == pytest.approx(np.mean(chosen))


def test_the_ways_are_chances():
  assert best_of.ways(512, 256).sum() == pytest.approx(1)
  assert best_of.ways(4, 4).tolist() == [0, 0, 0, 1]


def test_kl_with_ties_is_the_library_s_where_the_pool_is_n():
  scores = np.random.default_rng(1).integers(6, size=(20, 16)).astype(float)
  found = best_of.kl_with_ties(scores, 16)
  assert found == pytest.approx(kl_estimate(scores)[0])


def test_kl_without_ties_is_the_bound_and_all_alike_is_none():
  apart = np.random.default_rng(2).normal(size=(3, 64))
  for n in (1, 2, 16):
    assert best_of.kl_with_ties(apart, n) == pytest.approx(kl_bound(n))
  assert best_of.kl_with_ties(np.zeros((3, 64)), 16) == pytest.approx(0)
  # One of two equally likely completions: P = 1 - 2^-n of the better one.
  two = np.tile([0.0, 1.0], (1, 8))
  better = 1 - 0.5**3
  exact = better * np.log(2 * better) + 0.5**3 * np.log(2 * 0.5**3)
  assert best_of.kl_with_ties(two, 3) == pytest.approx(exact)
