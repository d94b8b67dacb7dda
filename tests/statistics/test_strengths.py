"""Bradley-Terry against scipy's optimum and statsmodels' regression."""

import itertools

import numpy as np
import pytest
from scipy import optimize, special
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from offalign.statistics.strengths import bradley_terry

NAMES = ["a", "b", "c", "d"]
TRUE = np.array([0.6, 0.2, -0.1, -0.7])


def duels(seed, n=300, names=NAMES, ties=0.1):
  rng = np.random.default_rng(seed)
  out = {}
  for i, j in itertools.combinations(range(len(names)), 2):
    chance = special.expit(TRUE[i] - TRUE[j])
    won = (rng.random(n) < chance).astype(float)
    won[rng.random(n) < ties] = 0.5
    out[names[i], names[j]] = {f"p{x}": w for x, w in enumerate(won)}
  return out


def test_without_a_prior_it_is_the_optimum_of_scipy():
  met = duels(0)
  found = bradley_terry(NAMES, met, prior=0.0, draws=2)

  def cost(free):
    theta = np.append(free, 0.0)
    total = 0.0
    for (a, b), shares in met.items():
      gap = theta[NAMES.index(a)] - theta[NAMES.index(b)]
      won = np.array(list(shares.values()))
      total -= (
        won * special.log_expit(gap) + (1 - won) * special.log_expit(-gap)
      ).sum()
    return total

  free = optimize.minimize(cost, np.zeros(3), tol=1e-12).x
  theirs = np.append(free, 0.0)
  theirs -= theirs.mean()
  assert [s.value for s in found] == pytest.approx(theirs, abs=1e-5)


def test_its_prior_is_half_a_win_for_either_side():
  met = duels(1, n=20, ties=0.0)
  found = bradley_terry(NAMES, met, draws=2)
  rows, y, weights = [], [], []
  for (a, b), shares in met.items():
    row = np.zeros(4)
    row[NAMES.index(a)], row[NAMES.index(b)] = 1, -1
    for won, weight in [*((w, 1.0) for w in shares.values()), (0.5, 1.0)]:
      rows.append(row[:3] - 0.0)
      y.append(won)
      weights.append(weight)
  fit = GLM(np.array(y), np.array(rows), Binomial(), var_weights=weights)
  theirs = np.append(fit.fit(tol=1e-12).params, 0.0)
  theirs -= theirs.mean()
  assert [s.value for s in found] == pytest.approx(theirs, abs=1e-6)


def test_intervals_hold_the_truth():
  held = []
  for seed in range(25):
    found = bradley_terry(NAMES, duels(seed, ties=0.0), draws=150)
    truth = TRUE - TRUE.mean()
    held += [s.low <= t <= s.high for s, t in zip(found, truth, strict=True)]
  assert np.mean(held) > 0.88


def test_who_wins_everything_has_a_finite_strength():
  met = {("a", "b"): dict.fromkeys("xyz", 1.0), ("b", "c"): {"x": float("nan")}}
  a, b, c = bradley_terry(["a", "b", "c"], met, draws=10)
  assert a.value > b.value
  assert np.isfinite([a.high, b.low]).all()
  assert np.isfinite(c.value)
