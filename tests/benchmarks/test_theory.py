"""What the theory track must show, at the closed form."""

import math

import numpy as np
import pytest

from benchmarks import bandit_metrics, bandit_world, theory
from benchmarks.methods import ONE_V, THEORY, Method

# 1,500 steps take longer than compiling one.
pytestmark = pytest.mark.usefixtures("optimized")


def regrets(method, scenarios=theory.SCENARIOS):
  """Scenario -> (regret, efficiency) of seed 0."""
  return {
    result.scenario: (result.metrics["regret"], result.metrics["efficiency"])
    for result in theory.run(method, scenarios, seeds=1)
  }


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["dro_v", "rebel", "dpo(beta=1)"])
def test_these_reach_the_optimum_everywhere(loss):
  found = regrets(Method(loss))
  assert len(found) == 7
  for scenario, (regret, efficiency) in found.items():
    assert regret < 1e-3, scenario
    assert efficiency > 0.999, scenario


def test_dro_v_learns_the_optimal_values():
  for result in theory.run(Method("dro_v"), ({"rho": 0.5},), seeds=2):
    assert result.metrics["value_rmse"] < 1e-3


def test_one_value_is_exact_where_the_value_is_constant_and_fails_elsewhere():
  found = regrets(Method("dro_v", value=ONE_V), theory.SCENARIOS[:4])
  constant, *rising = [regret for regret, _ in found.values()]
  assert constant < 1e-3
  assert rising == sorted(rising)
  assert rising[-1] > 1


def test_kto_is_biased_and_more_so_as_prompts_differ():
  method = Method("kto(beta=1)", labels="batch")
  found = regrets(method, theory.SCENARIOS[:3])
  assert found["rho=0, constant V*"][0] > 0.4
  assert found["rho=0.5"][0] > 1


def test_exponential_at_half_tau_is_calibrated_like_dpo():
  found = regrets(Method("gpo_exponential(beta=0.5)"), ({"rho": 0.5},))
  assert found["rho=0.5"][0] < 1e-3


def test_ipo_and_gpo_squared_are_the_same_loss():
  (ipo,) = regrets(Method("ipo(tau=0.5)"), ({"rho": 0.5},)).values()
  (squared,) = regrets(Method("gpo_squared(beta=1)"), ({"rho": 0.5},)).values()
  assert math.isclose(ipo[0], squared[0], rel_tol=1e-6)


def test_every_method_of_the_board_has_a_view():
  assert all(theory.fits(method) for method in THEORY)


@pytest.mark.parametrize("spec", ["rpo(tau=1)", "dro_group", "rloo(beta=1)"])
def test_group_losses_reach_the_optimum_where_every_arm_is_logged(spec):
  for regret, _ in regrets(Method(spec), theory.QUICK_SCENARIOS).values():
    assert regret < 1e-6


def test_a_star_reaches_it_on_samples_of_the_reference():
  method = Method("a_star_po", labels="reference")
  for regret, _ in regrets(method, theory.QUICK_SCENARIOS).values():
    assert regret < 1e-3


def test_the_forward_dro_reaches_the_optimum_of_its_own_objective():
  method = Method("dro_forward")
  worlds = [
    bandit_world.make(**scenario, seed=0) for scenario in theory.QUICK_SCENARIOS
  ]
  tables, values = theory.train(method, worlds)
  for world, table, found in zip(worlds, tables, values, strict=True):
    best = bandit_metrics.forward_optimum(world)
    log_policy = bandit_world.log_softmax(table)
    assert bandit_metrics.forward_regret(world, log_policy) < 1e-3
    np.testing.assert_allclose(found, best.values, atol=0.02)
    # And not that of the other.
    assert bandit_metrics.metrics(world, table).regret > 1e-3
