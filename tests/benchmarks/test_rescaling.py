"""The 1/tau of the policy gradient: where it changes a run and where not."""

import jax
import numpy as np
import pytest

from benchmarks import rescaling
from offalign.learner import optim
from offalign.testing import evaluate


def trajectory(config, factor):
  """Weights after 20 steps along random gradients, times a factor."""
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    transforms = optim.make(config, value=False, steps=20)
    params = {"policy": {"w": np.zeros((3, 4))}}
    state = {"policy": transforms["policy"].init(params["policy"])}
    for size in rng.uniform(0.5, 2.0, 20):
      grads = {"policy": {"w": factor * size * rng.normal(size=(3, 4))}}
      params, state = optim.update(transforms, grads, state, params)
    return np.asarray(params["policy"]["w"])


def config(name, clip_norm):
  return optim.OptimizerConfig(
    name=name, learning_rate=0.01, warmup_steps=0, clip_norm=clip_norm
  )


@pytest.mark.parametrize("tau", [0.1, 5.0])
@pytest.mark.parametrize("name", ["adam", "adafactor"])
def test_a_factor_is_nothing_without_clipping(name, tau):
  own = config(name, 0.0)
  one, other = trajectory(own, 1.0), trajectory(own, tau)
  np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("tau", [0.1, 5.0])
@pytest.mark.parametrize("name", ["adam", "adafactor"])
def test_with_clipping_a_factor_is_another_norm_to_clip_at(name, tau):
  one = trajectory(config(name, 4.0), tau)
  assert not np.allclose(one, trajectory(config(name, 4.0), 1.0), rtol=1e-3)
  other = trajectory(config(name, 4.0 / tau), 1.0)
  np.testing.assert_allclose(one, other, rtol=1e-5)


def test_exact_is_equation_8_as_printed():
  scores = {
    "logps": [[-1.0], [-2.0]],
    "ref_logps": [[-1.5], [-1.0]],
    "rewards": [[1.0], [-0.5]],
    "values": [0.25, 0.5],
  }
  ours = evaluate("dro_v(tau=0.3)", **scores)
  exact = evaluate(rescaling.exact(0.3), **scores)
  np.testing.assert_allclose(exact.values, ours.values)
  np.testing.assert_allclose(exact.grads["logps"], 0.3 * ours.grads["logps"])
  np.testing.assert_allclose(exact.grads["values"], ours.grads["values"])


def test_a_network_that_is_shared_feels_it():
  adam, shared = rescaling.SETUPS[0], rescaling.SETUPS[-1]
  alone, common = rescaling.rows((adam, shared), (3.0,), seeds=1, steps=30)
  assert alone["apart"] < 1e-8
  assert common["apart"] > 1e-6
