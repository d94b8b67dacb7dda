"""Best of n: its choice, its bound, and its estimated KL against the truth."""

import math

import numpy as np
import pytest

from offalign.errors import UserError
from offalign.generation import best_of


def test_the_best_is_chosen_and_the_first_of_equals():
  scores = np.array([[1.0, 3.0, 2.0], [5.0, 5.0, 4.0]])
  assert best_of.choose(scores).places.tolist() == [1, 0]


def test_the_control_chooses_without_looking():
  scores = np.tile([0.0, 1.0, 2.0, 3.0], (4000, 1))
  chosen = best_of.choose(scores, "random", seed=1)
  shares = np.bincount(chosen.places, minlength=4) / 4000
  np.testing.assert_allclose(shares, 0.25, atol=0.03)
  again = best_of.choose(-scores, "random", seed=1)
  np.testing.assert_array_equal(chosen.places, again.places)
  other = best_of.choose(scores, "random", seed=2)
  assert (chosen.places != other.places).any()
  assert "the KL from the policy is 0" in chosen.summary()
  with pytest.raises(UserError, match="select='worst' is none of best and"):
    best_of.choose(scores, "worst")


def test_what_has_no_score_is_not_the_best():
  nan = math.nan
  scores = np.array([[nan, 3.0, 2.0, nan], [-5.0, nan, -4.0, -5.0]])
  chosen = best_of.choose(scores)
  assert chosen.places.tolist() == [1, 2]
  assert "score -0.5 of the chosen, -1.8 of all" in chosen.summary()
  # As if they shared one score below all others.
  lowest = np.where(np.isnan(scores), -9.0, scores)
  assert best_of.kl_estimate(scores) == best_of.kl_estimate(lowest)
  with pytest.raises(UserError, match="of 1 of 2 prompts no completion has a"):
    best_of.choose(np.array([[nan, nan], [1.0, nan]]))


def true_kl(p, n):
  """KL of best of n over scores of probabilities p, lowest first."""
  high = np.cumsum(p)
  mass = high**n - (high - p) ** n
  return float((mass * np.log(mass / p)).sum())


def test_the_bound_is_the_kl_of_many_distinct_scores():
  for n in (2, 4, 16):
    p = np.full(100_000, 1e-5)
    assert true_kl(p, n) == pytest.approx(best_of.kl_bound(n), abs=1e-3)
    assert true_kl(np.array([0.3, 0.7]), n) < best_of.kl_bound(n)


@pytest.mark.parametrize("n", [2, 4, 16, 64])
def test_the_estimate_is_the_bound_without_ties_and_0_of_one_score(n):
  distinct = np.arange(3 * n, dtype=float).reshape(3, n)
  found, error = best_of.kl_estimate(distinct)
  assert found == pytest.approx(best_of.kl_bound(n))
  assert error == pytest.approx(0, abs=1e-12)
  same, _ = best_of.kl_estimate(np.ones((2, n)))
  assert same == pytest.approx(0, abs=1e-12)
  assert math.isnan(best_of.kl_estimate(np.ones((1, n)))[1])


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.6, 0.3, 0.1]])
def test_the_estimate_comes_to_the_truth_with_n(p):
  rng = np.random.default_rng(0)
  gaps = []
  for n in (4, 64):
    scores = rng.choice(len(p), p=p, size=(2000, n)).astype(float)
    found, _ = best_of.kl_estimate(scores)
    assert 0 <= found <= best_of.kl_bound(n)
    gaps.append(abs(found - true_kl(np.array(p), n)))
  assert gaps[1] < 0.05


def test_ties_and_single_scores_add_up_to_the_whole():
  """A score that one draw has is without ties on its part of the scale."""
  found, _ = best_of.kl_estimate(np.array([[0.0, 0.0, 1.0, 2.0]] * 2))
  u = (np.arange(200_000) + 0.5) / 200_000
  density = 4 * u**3
  low = u < 0.5
  mass = 0.5**4
  rest = (density * np.log(density))[~low].sum() / 200_000
  assert found == pytest.approx(mass * math.log(mass / 0.5) + rest, abs=1e-6)
