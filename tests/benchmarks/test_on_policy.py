"""Methods on their own samples end at the optimum that is known for them."""

import dataclasses

import numpy as np
import pytest

from benchmarks import bandit_metrics, on_policy
from benchmarks.bandit_world import make


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("method", on_policy.METHODS, ids=lambda m: m.name)
def test_it_ends_at_the_optimum_of_its_objective(method):
  assert on_policy.measure(method, seeds=2) < on_policy.GOAL


@pytest.mark.usefixtures("optimized")
def test_rounds_of_rebel_go_on_from_each_other():
  """n rounds at eta are the optimum of tau = 1 / (n eta), not of 1 / eta."""
  (method,) = [m for m in on_policy.METHODS if m.moving]
  bandit = make(rho=0.5, seed=0)
  half = dataclasses.replace(method, rounds=5)
  (logits,) = on_policy.train(half, [bandit])
  assert bandit_metrics.metrics(bandit, logits, tau=2.0).regret < 1e-2
  assert on_policy.regret(method, bandit, logits) > 0.05


def test_grpo_is_of_the_other_kl():
  """What it ends at is not the optimum of the reverse KL."""
  bandit = make(rho=0.5, seed=0)
  best = bandit_metrics.forward_optimum(bandit).log_policy
  assert bandit_metrics.forward_regret(bandit, best) == pytest.approx(0.0)
  assert bandit_metrics.metrics(bandit, best).regret > 0.02
  assert np.allclose(np.exp(best).sum(axis=1), 1.0)
