"""Optimisers: schedules, and stacked layers that train as if apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offalign.errors import UserError
from offalign.learner import optim
from offalign.learner.optim import OptimizerConfig, make, per_layer, schedule


def params(seed):
  keys = jax.random.split(jax.random.key(seed), 3)
  scale = jnp.asarray([1.0, 30.0, 0.01])[:, None, None]
  return {
    "encoder": {
      "layers": {"w": jax.random.normal(keys[0], (3, 130, 140)) * scale}
    },
    "embed": jax.random.normal(keys[1], (130, 150)),
  }


def test_stacked_layers_train_as_separate_tensors():
  def tx():
    return optax.adafactor(1e-2, decay_rate=0.8)

  stacked, together = params(0), per_layer(tx())
  apart = {
    "embed": stacked["embed"],
    **{str(i): stacked["encoder"]["layers"]["w"][i] for i in range(3)},
  }
  state, state_apart = together.init(stacked), tx().init(apart)
  for seed in range(1, 4):
    grads = params(seed)
    grads_apart = {
      "embed": grads["embed"],
      **{str(i): grads["encoder"]["layers"]["w"][i] for i in range(3)},
    }
    updates, state = together.update(grads, state, stacked)
    expected, state_apart = tx().update(grads_apart, state_apart, apart)
    stacked = optax.apply_updates(stacked, updates)
    apart = optax.apply_updates(apart, expected)
  np.testing.assert_allclose(stacked["embed"], apart["embed"], rtol=1e-5)
  for i in range(3):
    np.testing.assert_allclose(
      stacked["encoder"]["layers"]["w"][i], apart[str(i)], rtol=1e-5
    )
  plain = tx().update(params(1), tx().init(params(0)), params(0))[0]
  alone = together.update(params(1), together.init(params(0)), params(0))[0]
  gap = plain["encoder"]["layers"]["w"] - alone["encoder"]["layers"]["w"]
  assert np.abs(gap).max() > 1e-4  # without the wrapper it would differ


@pytest.mark.parametrize("name", ["adam", "adafactor"])
def test_the_first_step_moves_and_the_warm_up_ends_at_the_peak(name):
  rate = schedule(OptimizerConfig(name=name, warmup_steps=10), 1e-3, 100)
  assert rate(0) == pytest.approx(1e-4)
  assert rate(9) == pytest.approx(1e-3)
  assert rate(90) == pytest.approx(1e-3)


def test_the_papers_preset_warms_up_over_150_steps():
  rate = schedule(OptimizerConfig(name="adafactor"), 1.0, 1000)
  assert rate(149) == pytest.approx(1.0)
  assert rate(148) < 1.0


def test_cosine_ends_at_zero():
  config = OptimizerConfig(warmup_steps=10, schedule="cosine")
  rate = schedule(config, 1.0, 100)
  assert rate(10) == pytest.approx(1.0)
  assert rate(55) == pytest.approx(0.5)
  assert rate(100) == pytest.approx(0.0, abs=1e-6)


def test_policy_and_value_are_clipped_each_on_its_own():
  config = OptimizerConfig(learning_rate=1.0, clip_norm=1.0)
  transforms = make(config, value=True, steps=10)
  assert set(transforms) == {"policy", "value"}
  clip = optax.clip_by_global_norm(1.0)
  big, small = {"w": jnp.full(4, 10.0)}, {"w": jnp.full(4, 0.1)}
  assert optax.tree.norm(clip.update(big, clip.init(big))[0]) <= 1.0 + 1e-6
  for name, grad in (("policy", big), ("value", small)):
    tx = transforms[name]
    _, state = tx.update(grad, tx.init(grad), grad)
    first = state[1][0].mu["w"]  # Adam's first moment: 0.1 * clipped gradient
    norm = float(optax.tree.norm({"w": first})) / 0.1
    assert norm == pytest.approx(min(1.0, float(optax.tree.norm(grad))))


@pytest.mark.parametrize("size", [0.0, 0.1, 10.0, np.inf, np.nan])
def test_clipping_is_that_of_optax(size):
  grads = {"a": jnp.full((3, 4), size), "b": jnp.ones(5, jnp.bfloat16) * 0.1}
  found, expected = (
    clip(1.0).update(grads, clip(1.0).init(grads))
    for clip in (optim.clip, optax.clip_by_global_norm)
  )
  assert found[1] == expected[1]  # states of earlier checkpoints fit
  for name, leaf in found[0].items():
    assert leaf.dtype == grads[name].dtype
    tolerance = 1e-6 if name == "a" else 1e-2
    np.testing.assert_allclose(
      leaf.astype(jnp.float32),
      expected[0][name].astype(jnp.float32),
      rtol=tolerance,
    )


def test_clipped_gradients_are_not_held_beside_the_gradients(optimized):
  leaves = {f"w{i}": jnp.ones((256, 256)) for i in range(6)}
  weights = {"policy": leaves}
  tx = make(OptimizerConfig(), value=False, steps=10)
  state = {"policy": tx["policy"].init(leaves)}

  def step(grads, state, weights):
    grads = jax.tree.map(lambda g: 2 * g, grads)  # made in the step
    return optim.update(tx, grads, state, weights)

  compiled = jax.jit(step, donate_argnums=(1, 2)).lower(weights, state, weights)
  held = compiled.compile().memory_analysis().temp_size_in_bytes
  assert held < 1.5 * sum(leaf.nbytes for leaf in leaves.values())


def updates(config, grads, start=1.0):
  """What an optimiser made by the preset does to a leaf, step by step."""
  tx = make(config, value=False, steps=100)["policy"]
  params = {"w": jnp.full(grads.shape[1:], start)}
  state, moves = tx.init(params), []
  for grad in grads:
    move, state = tx.update({"w": jnp.asarray(grad)}, state, params)
    moves.append(np.asarray(move["w"]))
  return np.stack(moves)


GRADS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def test_adafactor_decays_with_exponent_0_8_and_ignores_the_params_scale():
  config = OptimizerConfig(
    name="adafactor", learning_rate=0.1, warmup_steps=0, clip_norm=0.0
  )
  second, want = np.zeros(4), []
  for step, grad in enumerate(GRADS, start=1):
    decay = 1.0 - step**-0.8
    second = decay * second + (1.0 - decay) * np.square(grad)
    move = grad / np.sqrt(second)
    want.append(-0.1 * move / max(1.0, np.sqrt(np.mean(np.square(move)))))
  for start in (1.0, 100.0):
    got = updates(config, GRADS, start)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_adam_is_adam_with_decay_apart_from_the_gradient():
  config = OptimizerConfig(
    learning_rate=0.1, warmup_steps=0, clip_norm=0.0, weight_decay=0.5
  )
  first, second, want = np.zeros(4), np.zeros(4), []
  for step, grad in enumerate(GRADS, start=1):
    first = 0.9 * first + 0.1 * grad
    second = 0.999 * second + 0.001 * np.square(grad)
    move = (first / (1 - 0.9**step)) / np.sqrt(second / (1 - 0.999**step))
    want.append(-0.1 * move)
  got = updates(config, GRADS, 3.0)  # a vector does not decay
  np.testing.assert_allclose(got, want, rtol=1e-4)
  rows = updates(config, GRADS[:, None], 3.0)  # a matrix does
  np.testing.assert_allclose(
    rows[:, 0], np.asarray(want) - 0.1 * 0.5 * 3.0, rtol=1e-4
  )


def test_norms_and_biases_of_stacked_layers_do_not_decay():
  config = OptimizerConfig(
    learning_rate=0.1, warmup_steps=0, clip_norm=0.0, weight_decay=0.5
  )
  tx = make(config, value=False, steps=10)["policy"]
  ones = {
    "layers": {"norm": jnp.ones((3, 8)), "w": jnp.ones((3, 8, 8))},
    "norm": jnp.ones(8),
    "embed": jnp.ones((5, 8)),
  }
  still = jax.tree.map(jnp.zeros_like, ones)
  moved, _ = tx.update(still, tx.init(ones), ones)
  decays = jax.tree.map(lambda x: bool(jnp.all(x < 0)), moved)
  assert decays == {
    "layers": {"norm": False, "w": True},
    "norm": False,
    "embed": True,
  }


@pytest.mark.parametrize("name", ["adam", "adafactor"])
def test_clip_norm_0_does_not_clip_and_clipping_comes_first(name):
  base = {"name": name, "learning_rate": 0.1, "warmup_steps": 0}
  # Clipped to the same norm, gradients of any size are the same gradients.
  clip = OptimizerConfig(**base, clip_norm=0.01)
  sizes = np.array([[1.0], [10.0], [100.0]], np.float32)
  norms = np.linalg.norm(GRADS, axis=1, keepdims=True)
  np.testing.assert_allclose(
    updates(clip, sizes * GRADS),
    updates(clip, 0.01 * GRADS / norms),
    rtol=1e-4,
  )
  free = OptimizerConfig(**base, clip_norm=0.0)
  large = OptimizerConfig(**base, clip_norm=1e9)
  got = updates(free, sizes * GRADS)
  np.testing.assert_allclose(got, updates(large, sizes * GRADS), rtol=1e-5)
  assert not np.allclose(got, updates(clip, sizes * GRADS), rtol=1e-2)


def test_the_value_has_the_policys_rate_unless_it_has_its_own():
  grad = {"w": jnp.ones(4)}
  for own, want in ((None, 0.1), (0.02, 0.02)):
    config = OptimizerConfig(
      learning_rate=0.1, value_learning_rate=own, warmup_steps=0
    )
    transforms = make(config, value=True, steps=10)
    for name, rate in (("policy", 0.1), ("value", want)):
      tx = transforms[name]
      move, _ = tx.update(grad, tx.init(grad), grad)
      np.testing.assert_allclose(move["w"], -rate, rtol=1e-4)


@pytest.mark.parametrize("rates", [(-1.0, None), (1.0, -1.0)])
def test_a_negative_rate_is_refused(rates):
  config = OptimizerConfig(learning_rate=rates[0], value_learning_rate=rates[1])
  with pytest.raises(UserError, match="learning_rate must be >= 0"):
    make(config, value=True, steps=10)
