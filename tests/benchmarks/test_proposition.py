"""The DRO paper's Proposition 1 and its remarks, on random bandits.

arXiv:2405.19107, equations 5 and 6: what the policy of a wrong V is. The
policies are found by minimising the loss's value, and not by these equations.
"""

import numpy as np
import pytest
import scipy.optimize

from benchmarks import bandit_metrics, bandit_world, theory
from benchmarks.methods import Method
from offalign.testing import evaluate

TAUS = (0.3, 1.0, 3.0)


def bandit(seed, off_policy=True):
  return bandit_world.make(
    0.5, prompts=3, arms=5, off_policy=off_policy, seed=seed
  )


def random_values(world, seed):
  """A V [X] that is off by about one deviation of the rewards."""
  return np.random.default_rng(seed).normal(size=len(world.mu))


def best_policy(world, values, tau):
  """log pi_V [X, Y]: minimises 1/2 E_mu (r - V - tau rho)^2 at this V."""
  rows = zip(world.log_ref, world.mu, world.rewards, values, strict=True)
  return np.stack([_best_row(*row, tau) for row in rows])


def _best_row(log_ref, mu, rewards, value, tau):
  def loss(logits):
    log_policy = logits - np.logaddexp.reduce(logits)
    delta = rewards - value - tau * (log_policy - log_ref)
    push = -tau * mu * delta
    return 0.5 * mu @ delta**2, push - np.exp(log_policy) * push.sum()

  found = scipy.optimize.minimize(
    loss, log_ref, jac=True, method="BFGS", options={"gtol": 1e-10}
  )
  return found.x - np.logaddexp.reduce(found.x)


def residuals(world, log_policy, tau):
  """r - tau rho [X, Y], and its mean under mu, V^pi [X, 1]."""
  target = world.rewards - tau * (log_policy - world.log_ref)
  return target, (world.mu * target).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("seed", range(5))
def test_equation_5_is_the_policy_of_any_value(seed, tau):
  """r - tau rho = V + (V^pi - V) pi / mu at the loss's minimum."""
  world = bandit(seed)
  values = random_values(world, seed)
  log_policy = best_policy(world, values, tau)
  target, mean = residuals(world, log_policy, tau)
  off = mean - values[:, None]
  want = values[:, None] + off * np.exp(log_policy) / world.mu
  np.testing.assert_allclose(target, want, atol=1e-5)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("seed", range(5))
def test_the_library_stands_still_at_equation_5(seed, tau):
  world = bandit(seed)
  values = random_values(world, seed)
  log_policy = best_policy(world, values, tau)
  got = evaluate(
    f"dro_v(tau={tau})",
    logps=log_policy.reshape(-1, 1),
    ref_logps=world.log_ref.reshape(-1, 1),
    rewards=world.rewards.reshape(-1, 1),
    values=np.repeat(values, 5),
  )
  push = world.mu * got.grads["logps"].reshape(world.mu.shape) * world.mu.size
  still = push - np.exp(log_policy) * push.sum(axis=1, keepdims=True)
  assert np.abs(push).max() > 1e-2
  np.testing.assert_allclose(still, 0.0, atol=1e-6)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("seed", range(5))
def test_equation_6_bounds_the_error_of_the_policy(seed, tau):
  """|log pi_V / pi*| <= 2 / tau max |(V^pi - V)(1 - pi_V / mu)|."""
  world = bandit(seed)
  values = random_values(world, seed)
  log_policy = best_policy(world, values, tau)
  _, mean = residuals(world, log_policy, tau)
  best = bandit_metrics.optimum(world, tau).log_policy
  error = np.abs(log_policy - best).max(axis=1)
  gap = np.abs((mean - values[:, None]) * (1 - np.exp(log_policy) / world.mu))
  bound = 2 / tau * gap.max(axis=1)
  assert error.max() > 0.02 / tau
  assert (error <= bound + 1e-6).all()


@pytest.mark.parametrize("off_policy", [False, True])
def test_the_optimal_value_gives_the_optimal_policy_whatever_mu_is(off_policy):
  world = bandit(7, off_policy)
  best = bandit_metrics.optimum(world)
  found = best_policy(world, best.values, 1.0)
  np.testing.assert_allclose(found, best.log_policy, atol=1e-6)


def l2_gradient(log_policy, log_ref, weights):
  """Of 1/2 E rho^2 with respect to the logits, at samples of `weights`."""
  push = weights * (log_policy - log_ref)
  return push - np.exp(log_policy) * push.sum(axis=1, keepdims=True)


def kl_gradient(log_policy, log_ref):
  """Of KL(pi || pi_ref): pi (rho - KL)."""
  rho = log_policy - log_ref
  policy = np.exp(log_policy)
  return policy * (rho - (policy * rho).sum(axis=1, keepdims=True))


def test_the_l2_penalty_pulls_as_kl_does_on_the_policys_own_samples_alone():
  world = bandit(3)
  log_policy = bandit_metrics.optimum(world).log_policy
  kl = kl_gradient(log_policy, world.log_ref)
  own = l2_gradient(log_policy, world.log_ref, np.exp(log_policy))
  np.testing.assert_allclose(own, kl, atol=1e-12)
  for weights in (world.mu, np.exp(world.log_ref)):
    other = l2_gradient(log_policy, world.log_ref, weights)
    assert np.abs(other - kl).max() > 0.1 * np.abs(kl).max()
    # Both rest at the reference.
    rest = l2_gradient(world.log_ref, world.log_ref, weights)
    np.testing.assert_allclose(rest, 0.0, atol=1e-12)


def only(method, off_policy):
  """The regret on one bandit of half its variance between prompts."""
  scenario = {"rho": 0.5, "off_policy": off_policy}
  (result,) = theory.run(method, (scenario,), seeds=1)
  return result.metrics["regret"]


ZERO = Method("una(beta=1)")
MEAN = Method("una(beta=1)", "mean", labels="centred")


@pytest.mark.parametrize("off_policy", [False, True])
def test_the_value_is_no_mere_baseline(off_policy):
  """With V = 0 and with V = E_mu r the optimum is another one."""
  assert only(Method("dro_v"), off_policy) < 1e-5
  assert only(MEAN, off_policy) > 0.02
  assert only(ZERO, off_policy) > 2 * only(MEAN, off_policy)


def test_the_controls_end_where_equation_5_has_them():
  world = bandit_world.make(0.5, off_policy=True, seed=0)
  mean = (world.mu * world.rewards).sum(axis=1)
  for method, values in ((ZERO, 0 * mean), (MEAN, mean)):
    found = best_policy(world, values, 1.0)
    regret = bandit_metrics.metrics(world, found).regret
    assert only(method, True) == pytest.approx(regret, rel=1e-3)


def test_one_completion_a_prompt_is_explained_without_a_policy():
  """Theorem 1 needs mu > 0 wherever pi_ref is."""
  world = bandit_world.empirical(bandit(1), 1, np.random.default_rng(0))
  seen = world.mu > 0
  values = world.rewards[seen]
  got = evaluate(
    "dro_v",
    logps=world.log_ref[seen][:, None],
    ref_logps=world.log_ref[seen][:, None],
    rewards=values[:, None],
    values=values,
  )
  assert not got.values.any()
  assert not got.grads["logps"].any()
  # As good, at the log's completions, as the optimum itself.
  best = bandit_metrics.optimum(world)
  optimal = evaluate(
    "dro_v",
    logps=best.log_policy[seen][:, None],
    ref_logps=world.log_ref[seen][:, None],
    rewards=values[:, None],
    values=best.values,
  )
  np.testing.assert_allclose(optimal.values, 0.0, atol=1e-20)
