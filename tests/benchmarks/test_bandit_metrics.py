import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import bandit_metrics as metrics
from benchmarks import bandit_world as world
from offalign.errors import UserError

TAUS = (0.1, 1.0, 3.0)


@pytest.fixture(
  scope="module",
  params=[{}, {"off_policy": True}, {"binary": True}],
  ids=["graded", "off-policy", "binary"],
)
def bandit(request):
  return world.make(0.5, **request.param, seed=0)


@pytest.mark.parametrize("tau", TAUS)
def test_optimum_satisfies_the_fixed_point_of_dro(bandit, tau):
  best = metrics.optimum(bandit, tau)
  residual = (
    bandit.rewards
    - best.values[:, None]
    - tau * (best.log_policy - bandit.log_ref)
  )
  np.testing.assert_allclose(residual, 0.0, atol=1e-12)
  np.testing.assert_allclose(np.exp(best.log_policy).sum(axis=1), 1.0)


@pytest.mark.parametrize("tau", TAUS)
def test_pi_star_has_no_regret_and_is_on_the_frontier(bandit, tau):
  best = metrics.optimum(bandit, tau)
  got = metrics.metrics(bandit, best.log_policy, best.values, tau=tau)
  assert got.regret == pytest.approx(0.0, abs=1e-12)
  assert got.efficiency == pytest.approx(1.0, abs=1e-9)
  assert got.kl_from_optimum == pytest.approx(0.0, abs=1e-12)
  assert got.value_rmse == pytest.approx(0.0, abs=1e-12)
  assert got.objective == pytest.approx(best.values.mean())


@pytest.mark.parametrize("beta", TAUS)
def test_the_forward_optimum_is_stationary_and_sums_to_one(bandit, beta):
  best = metrics.forward_optimum(bandit, beta)
  policy = np.exp(best.log_policy)
  np.testing.assert_allclose(policy.sum(axis=1), 1.0)
  multiplier = bandit.rewards + beta * np.exp(bandit.log_ref) / policy
  want = np.broadcast_to(best.values[:, None] + beta, multiplier.shape)
  np.testing.assert_allclose(multiplier, want)
  assert metrics.forward_regret(bandit, bandit.log_ref, beta) == 1.0
  assert metrics.forward_regret(bandit, best.log_policy, beta) == 0.0
  rng = np.random.default_rng(0)
  other = best.log_policy + 0.1 * rng.normal(size=policy.shape)
  other = world.log_softmax(other)
  assert metrics.forward_regret(bandit, other, beta) > 0.0


def test_the_forward_optimum_has_a_beta_above_0(bandit):
  with pytest.raises(UserError, match="beta must be above 0"):
    metrics.forward_optimum(bandit, 0.0)


def test_the_reference_has_regret_one(bandit):
  got = metrics.metrics(bandit, bandit.log_ref + 5.0)
  assert got.regret == pytest.approx(1.0)
  assert got.kl == pytest.approx(0.0, abs=1e-15)
  assert got.win_rate == pytest.approx(0.5)
  assert math.isnan(got.efficiency)
  assert math.isnan(got.value_rmse)
  expected = (np.exp(bandit.log_ref) * bandit.rewards).sum(axis=1).mean()
  assert got.reward == pytest.approx(expected)
  assert got.objective == pytest.approx(expected)


def test_every_metric_by_hand():
  bandit = world.Bandit(
    log_ref=np.log([[0.5, 0.5]]),
    mu=np.array([[0.5, 0.5]]),
    rewards=np.array([[1.0, -1.0]]),
    name="coin",
  )
  policy = np.log([[0.75, 0.25]])
  got = metrics.metrics(bandit, policy, np.array([2.0]), tau=2.0)
  kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
  # pi* = sigmoid(1) on the first arm; V* = 2 log cosh(1/2).
  best, star = 2 * math.log(math.cosh(0.5)), 1 / (1 + math.exp(-1.0))
  assert got.reward == pytest.approx(0.5)
  assert got.kl == pytest.approx(kl)
  assert got.objective == pytest.approx(0.5 - 2 * kl)
  assert got.regret == pytest.approx((best - 0.5 + 2 * kl) / best)
  assert got.win_rate == pytest.approx(0.75 * 0.75 + 0.25 * 0.25)
  # With two arms any policy that leans to the better one is a tilt.
  assert got.efficiency == pytest.approx(1.0)
  assert got.kl_from_optimum == pytest.approx(
    star * math.log(star / 0.75) + (1 - star) * math.log((1 - star) / 0.25)
  )
  assert got.value_rmse == pytest.approx(2.0 - best)
  worse = metrics.metrics(bandit, policy[:, ::-1], tau=2.0)
  assert worse.efficiency == pytest.approx(-1.0)
  assert worse.regret > 1.0


def test_regret_agrees_with_the_difference_of_objectives(bandit):
  rng = np.random.default_rng(0)
  logits = bandit.log_ref + rng.standard_normal(bandit.log_ref.shape)
  got = metrics.metrics(bandit, logits, tau=0.5)
  best = metrics.optimum(bandit, 0.5).values.mean()
  start = metrics.metrics(bandit, bandit.log_ref, tau=0.5).objective
  expected = (best - got.objective) / (best - start)
  assert got.regret == pytest.approx(expected, rel=1e-9)


def test_bisection_finds_the_tilt_of_a_kl(bandit):
  for s in (1e-3, 0.2, 1.0, 5.0):
    tilt = world.log_softmax(bandit.log_ref + s * bandit.rewards)
    kl = metrics.metrics(bandit, tilt).kl
    assert metrics.inverse_tau(bandit, kl) == pytest.approx(s, rel=1e-9)


def test_more_kl_than_the_greedy_policy_is_compared_with_it(bandit):
  worst = np.where(
    bandit.rewards == bandit.rewards.min(axis=1, keepdims=True), 0.0, -1e4
  )
  got = metrics.metrics(bandit, worst)
  assert math.isfinite(got.kl)
  assert got.efficiency < 0
  greedy = np.where(
    bandit.rewards == bandit.rewards.max(axis=1, keepdims=True),
    bandit.log_ref,
    -1e4,
  )
  assert metrics.metrics(bandit, greedy).efficiency == pytest.approx(1.0)
  # All mass on one of several best arms: the same reward for more KL.
  one = np.full(bandit.rewards.shape, -1e4)
  np.put_along_axis(one, bandit.rewards.argmax(axis=1)[:, None], 0.0, axis=1)
  assert metrics.metrics(bandit, one).efficiency == pytest.approx(1.0)


@settings(deadline=None, max_examples=50)
@given(
  seed=st.integers(0, 10_000),
  size=st.floats(1e-3, 20.0),
  lean=st.floats(-1.0, 5.0),
)
def test_no_policy_is_above_the_frontier(seed, size, lean):
  bandit = world.make(0.5, prompts=4, arms=3, seed=seed % 7)
  noise = np.random.default_rng(seed).standard_normal((4, 3))
  logits = bandit.log_ref + size * noise + lean * bandit.rewards
  got = metrics.metrics(bandit, logits)
  assert got.efficiency <= 1 + 1e-9
  assert got.regret >= 0
  assert 0 <= got.win_rate <= 1


def test_regret_keeps_its_precision_near_zero(bandit):
  best = metrics.optimum(bandit)
  direction = np.random.default_rng(0).standard_normal(best.log_policy.shape)
  near, nearer = (
    metrics.metrics(bandit, best.log_policy + size * direction).regret
    for size in (1e-5, 1e-6)
  )
  assert nearer / near == pytest.approx(0.01, rel=1e-3)


def test_what_does_not_fit_is_refused(bandit):
  with pytest.raises(UserError, match=r"logits have shape \(2, 2\)"):
    metrics.metrics(bandit, np.zeros((2, 2)))
  with pytest.raises(UserError, match=r"values have shape \(3,\)"):
    metrics.metrics(bandit, bandit.log_ref, np.zeros(3))
  with pytest.raises(UserError, match="tau must be above 0, not 0"):
    metrics.metrics(bandit, bandit.log_ref, tau=0.0)
