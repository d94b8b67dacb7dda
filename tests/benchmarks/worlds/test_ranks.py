"""Rank correlations are scipy's; intervals hold what is known of them."""

import numpy as np
import pytest
import scipy.stats

from benchmarks.worlds import ranks


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_scipys_with_ties_too(seed):
  rng = np.random.default_rng(seed)
  a, b = rng.integers(0, 6, (2, 9)).astype(float)
  assert ranks.spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b)[0])
  assert ranks.kendall(a, b) == pytest.approx(scipy.stats.kendalltau(a, b)[0])


def test_all_tied_has_no_correlation():
  flat, rising = np.zeros(4), np.arange(4.0)
  assert np.isnan(ranks.spearman(flat, rising))
  assert np.isnan(ranks.kendall(rising, flat))


def board(means, seeds=5, prompts=200, noise=0.02, seed=0):
  """Outcomes by method: its mean, luck of seeds, how hard prompts are."""
  rng = np.random.default_rng(seed)
  hard = rng.normal(size=(1, prompts))
  return [mean + noise * rng.normal(size=(seeds, 1)) + hard for mean in means]


def test_what_all_methods_share_of_a_prompt_does_not_widen_an_interval():
  # Prompts differ by 1, methods by .2: only paired prompts tell them apart.
  means = np.arange(6) / 5
  for found in ranks.correlations(
    board(means, seed=1), board(means, seed=2), draws=500
  ):
    assert found.value == 1
    assert found.low > 0.9
    assert found.high == 1


def test_intervals_of_noise_hold_0_and_those_of_seeds_alone_work():
  values = [np.array([[0.1], [0.2]]), np.array([[0.3], [0.4]])]
  values.append(np.array([[0.5], [0.6]]))
  found, _ = ranks.correlations(values, values, draws=100)
  assert found.value == 1
  held = 0
  for seed in range(10):
    a, b = (
      board(np.zeros(8), noise=0.1, seed=2 * seed + side) for side in (0, 1)
    )
    spearman, _ = ranks.correlations(a, b, draws=300)
    held += spearman.low <= 0 <= spearman.high
  assert held >= 7
