"""Against a small world whose samples are its exact distribution."""

import itertools
import math

import numpy as np
import pytest

from benchmarks import ops_metrics as metrics
from offalign.errors import UserError

# Probabilities in eighths and rewards of three outcomes of two prompts.
EIGHTHS = np.array([[4, 3, 1], [2, 2, 4]])
OUTCOMES = np.array([[0.0, 1.0, 2.0], [0.5, -1.0, 0.5]])
REFERENCE = EIGHTHS / 8
# Eight samples per prompt, in proportion: sums over them are expectations.
SAMPLES = np.array(
  [np.repeat(r, n) for r, n in zip(OUTCOMES, EIGHTHS, strict=True)]
)
SCALE = 0.8


def tilted(tau):
  raw = REFERENCE * np.exp(OUTCOMES / (SCALE * tau))
  return raw / raw.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def frontier():
  return metrics.frontier(SAMPLES, SAMPLES, scale=SCALE, taus=(0.3, 3.0, 1.0))


def test_win_rate_counts_ties_half():
  a, b = np.array([1.0, 2.0, 3.0, 3.0]), np.array([1.0, 1.0, 4.0, 0.0])
  assert metrics.win_rate(a, b) == 0.625
  assert metrics.win_rate(b, a) == 0.375


def test_folds_are_disjoint_and_cover_every_prompt():
  a, b = np.array([1.0, 1, 0, 0, 0.5, 0.5]), np.full(6, 0.5)
  assert metrics.folds(a, b, 3).tolist() == [1.0, 0.0, 0.5]
  assert len(metrics.folds(a, b)) == 5
  with pytest.raises(UserError, match="cannot cut 6 prompts into 7 folds"):
    metrics.folds(a, b, 7)


def test_head_to_head_is_antisymmetric():
  rng = np.random.default_rng(0)
  rewards = {name: rng.integers(0, 3, 100) for name in "abc"}
  table = metrics.head_to_head(rewards)
  for a, b in itertools.permutations("abc", 2):
    assert table[a][b] + table[b][a] == pytest.approx(1.0)
  assert table["a"]["b"] == metrics.win_rate(rewards["a"], rewards["b"])
  assert set(table["a"]) == {"b", "c"}


def test_frontier_is_the_exact_tilt(frontier):
  assert frontier.taus.tolist() == [3.0, 1.0, 0.3]
  base = (REFERENCE * OUTCOMES).sum(axis=1).mean()
  assert frontier.base == pytest.approx(base)
  for i, tau in enumerate(frontier.taus):
    pi = tilted(tau)
    kl = (pi * np.log(pi / REFERENCE)).sum(axis=1).mean()
    reward = (pi * OUTCOMES).sum(axis=1).mean()
    win = np.mean(
      [
        sum(
          p[y] * q[z] * ((r[y] > r[z]) + 0.5 * (r[y] == r[z]))
          for y, z in itertools.product(range(3), repeat=2)
        )
        for p, q, r in zip(pi, REFERENCE, OUTCOMES, strict=True)
      ]
    )
    # sum w^2 over samples, each outcome's mass spread over its copies.
    ess = (1 / (pi**2 / EIGHTHS).sum(axis=1)).mean()
    np.testing.assert_allclose(
      [frontier.kl[i], frontier.gain[i], frontier.win[i], frontier.ess[i]],
      [kl, reward - base, win, ess],
      rtol=1e-12,
    )


def test_an_offset_of_the_prompt_changes_nothing(frontier):
  offset = np.array([[3.0], [-5.0]])
  moved = metrics.frontier(
    SAMPLES + offset, SAMPLES + offset, scale=SCALE, taus=(0.3, 3.0, 1.0)
  )
  for name in ("kl", "gain", "win", "ess"):
    np.testing.assert_allclose(
      getattr(moved, name), getattr(frontier, name), rtol=1e-9
    )


def test_scale_is_the_unit_of_tau(frontier):
  raw = metrics.frontier(
    SAMPLES, SAMPLES, scale=1.0, taus=(0.3 * SCALE, 3.0 * SCALE, SCALE)
  )
  np.testing.assert_allclose(raw.kl, frontier.kl, rtol=1e-12)


def test_the_tilt_itself_has_efficiency_one():
  curve = metrics.frontier(SAMPLES, SAMPLES, scale=SCALE)
  assert (np.diff(curve.kl) >= 0).all()
  assert (np.diff(curve.gain) >= 0).all()
  for tau in (0.07, 0.35, 1.3, 7.0, 60.0):
    pi = tilted(tau)
    kl = (pi * np.log(pi / REFERENCE)).sum(axis=1).mean()
    gain = (pi * OUTCOMES).sum(axis=1).mean() - curve.base
    assert curve.efficiency(gain, kl) == pytest.approx(1.0, abs=1e-3)
    assert curve.efficiency(gain / 2, kl) == pytest.approx(0.5, abs=1e-3)


def test_no_policy_beats_the_frontier():
  curve = metrics.frontier(SAMPLES, SAMPLES, scale=SCALE)
  rng = np.random.default_rng(0)
  best = 0.0
  for _ in range(300):
    raw = REFERENCE * np.exp(2 * rng.standard_normal((2, 3)))
    pi = raw / raw.sum(axis=1, keepdims=True)
    kl = (pi * np.log(pi / REFERENCE)).sum(axis=1).mean()
    gain = (pi * OUTCOMES).sum(axis=1).mean() - curve.base
    best = max(best, curve.efficiency(gain, kl))
  assert 0.9 < best < 1.001


def test_efficiency_is_flat_beyond_the_curve_and_undefined_without_kl(
  frontier,
):
  last = frontier.gain[-1]
  assert frontier.efficiency(last, 50.0) == pytest.approx(1.0)
  assert frontier.efficiency(-last, 50.0) == pytest.approx(-1.0)
  assert math.isnan(frontier.efficiency(0.0, 0.0))
  assert math.isnan(frontier.efficiency(0.1, -0.01))


def test_small_tau_stays_finite():
  curve = metrics.frontier(SAMPLES, SAMPLES, scale=1e-3, taus=(1e-3,))
  # All mass on the best outcomes: 1 of 8 samples, and 6 of 8.
  assert curve.kl[0] == pytest.approx((math.log(8) + math.log(8 / 6)) / 2)
  assert curve.ess[0] == pytest.approx((1 + 6) / 2)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_best_of_n_agrees_with_every_subset(n):
  rng = np.random.default_rng(0)
  fresh = rng.choice(OUTCOMES.ravel(), (2, 5))
  out = metrics.best_of_n(SAMPLES, fresh, n)
  best = np.array(
    [[max(c) for c in itertools.combinations(row, n)] for row in SAMPLES]
  )
  assert out.reward == pytest.approx(best.mean())
  wins = [
    metrics.win_rate(best, np.repeat(fresh[:, i : i + 1], best.shape[1], 1))
    for i in range(5)
  ]
  assert out.win == pytest.approx(np.mean(wins))
  assert out.kl_bound == pytest.approx(math.log(n) - 1 + 1 / n)


def test_best_of_one_against_its_own_samples_is_even():
  assert metrics.best_of_n(SAMPLES, SAMPLES, 1).win == pytest.approx(0.5)


def test_what_does_not_fit_is_refused():
  with pytest.raises(UserError, match="scale must be above 0"):
    metrics.frontier(SAMPLES, SAMPLES, scale=0.0)
  with pytest.raises(UserError, match="every tau must be above 0"):
    metrics.frontier(SAMPLES, SAMPLES, scale=1.0, taus=(1.0, 0.0))
  with pytest.raises(UserError, match="best of 9 needs between 1 and 8"):
    metrics.best_of_n(SAMPLES, SAMPLES, 9)
