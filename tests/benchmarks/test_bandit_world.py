import dataclasses

import numpy as np
import pytest

from benchmarks import bandit_metrics as metrics
from benchmarks import bandit_world as world
from offalign.errors import UserError


def moments(bandit):
  weight = bandit.mu / len(bandit.mu)
  mean = (weight * bandit.rewards).sum()
  return mean, (weight * bandit.rewards**2).sum() - mean**2


@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8, 1.0])
def test_rewards_are_normalised_and_split_as_asked(rho, off_policy):
  bandit = world.make(rho, off_policy=off_policy, seed=1)
  np.testing.assert_allclose(moments(bandit), [0.0, 1.0], atol=1e-12)
  assert bandit.between_share == pytest.approx(rho, abs=1e-12)
  for table in (np.exp(bandit.log_ref), bandit.mu):
    assert table.shape == (32, 10)
    np.testing.assert_allclose(table.sum(axis=1), 1.0, atol=1e-12)
  on_policy = np.allclose(bandit.mu, np.exp(bandit.log_ref))
  assert on_policy != off_policy


def test_within_prompt_variance_is_the_same_for_every_prompt():
  bandit = world.make(0.3, off_policy=True, seed=2)
  mean = (bandit.mu * bandit.rewards).sum(axis=1, keepdims=True)
  within = (bandit.mu * (bandit.rewards - mean) ** 2).sum(axis=1)
  np.testing.assert_allclose(within, 0.7, rtol=1e-12)


@pytest.mark.parametrize("tau", [0.3, 1.0])
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_const_v_makes_v_constant(rho, tau):
  bandit = world.make(rho, const_v=True, off_policy=True, tau=tau, seed=0)
  values = metrics.optimum(bandit, tau).values
  assert np.ptp(values) < 1e-12
  assert np.ptp(metrics.optimum(bandit, 2 * tau).values) > 1e-2
  assert moments(bandit)[0] == pytest.approx(0.0, abs=1e-12)
  assert abs(values[0]) > 1e-2


def test_const_v_keeps_the_optimal_policy():
  plain, shifted = (
    world.make(0.5, const_v=const_v, seed=0) for const_v in (False, True)
  )
  np.testing.assert_allclose(
    metrics.optimum(plain).log_policy,
    metrics.optimum(shifted).log_policy,
    atol=1e-12,
  )


def test_binary_rewards_take_two_values():
  bandit = world.make(0.5, binary=True, seed=0)
  assert len(np.unique(bandit.rewards)) == 2
  np.testing.assert_allclose(moments(bandit), [0.0, 1.0], atol=1e-12)
  graded = world.make(0.5, seed=0).rewards
  np.testing.assert_array_equal(bandit.rewards > 0, graded > 0)


def test_one_seed_is_one_world_whatever_rho():
  one, same = world.make(0.5, seed=3), world.make(0.5, seed=3)
  for field in ("log_ref", "mu", "rewards"):
    np.testing.assert_array_equal(getattr(one, field), getattr(same, field))
  other = world.make(0.8, off_policy=True, seed=3)
  np.testing.assert_array_equal(one.log_ref, other.log_ref)
  assert (one.log_ref != world.make(0.5, seed=4).log_ref).any()


def test_names_say_what_was_asked():
  assert world.make(0.5, seed=0).name == "rho=0.5"
  full = world.make(0, off_policy=True, const_v=True, binary=True, seed=0)
  assert full.name == "rho=0, mu != ref, constant V*, binary"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"rho": 1.5}, "0 .. 1, not 1.5"),
    ({"rho": 0.5, "arms": 1}, "two prompts and two arms, not 32 and 1"),
    ({"rho": 0.5, "tau": -1.0, "const_v": True}, "tau must be above 0"),
    ({"rho": 0.5, "tau": 2.0}, "only where const_v is set"),
  ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    world.make(**arguments, seed=0)


def test_empirical_counts_come_from_mu():
  bandit = world.make(0.5, off_policy=True, seed=0)
  few = world.empirical(bandit, 4, np.random.default_rng(0))
  np.testing.assert_array_equal((few.mu * 4) % 1, 0)
  np.testing.assert_allclose(few.mu.sum(axis=1), 1.0)
  many = world.empirical(bandit, 1_000_000, np.random.default_rng(0))
  np.testing.assert_allclose(many.mu, bandit.mu, atol=5e-3)
  same = dataclasses.replace(few, mu=bandit.mu, name=bandit.name)
  assert same.rewards is bandit.rewards
