"""Layers computed again in the backward pass: less memory, same gradients."""

import collections
import math

import chex
import jax
import jax.numpy as jnp
import pytest
import runs
import worlds

from offalign import models
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig

V, B, P, T = 32, 2, 24, 24
LAYERS = 2  # unless a spec says so


def compiled(spec, remat):
  """The gradient of a sum of states, compiled, and what it is taken at."""
  model = models.make(spec, vocab_size=V).rematted(remat)
  tokens = jax.random.randint(jax.random.key(1), (B, P + T), 0, V)
  inputs = (
    tokens[:, :P],
    jnp.ones((B, P), bool),
    tokens[:, None, P:],
    jnp.ones((B, 1, T), bool),
  )

  def loss(params):
    return jnp.square(model.hidden(params, *inputs).completions).mean()

  params = model.init(jax.random.key(0))
  return jax.jit(jax.grad(loss)).lower(params).compile(), params


@pytest.mark.slow
@pytest.mark.parametrize(
  "spec",
  ["decoder(width=32, layers=6, heads=2)", "t5(width=32, layers=6, heads=2)"],
)
def test_gradients_are_the_same_and_take_less_memory(spec):
  needed, found = {}, {}
  for remat in ("none", "dots", "block"):
    grad, params = compiled(spec, remat)
    needed[remat] = grad.memory_analysis().temp_size_in_bytes
    found[remat] = grad(params)
  for remat in ("dots", "block"):
    chex.assert_trees_all_close(
      found[remat], found["none"], rtol=1e-4, atol=1e-6
    )
  assert needed["block"] < needed["dots"] < needed["none"], needed


@pytest.mark.parametrize(
  ("spec", "want"),
  [
    ("decoder(width=8, heads=2)", {(40, 8): 5, (40, 32): 1, (2, 24, 24): 2}),
    (
      "t5(width=8, heads=2)",
      {(24, 8): 4, (24, 16): 2, (16, 8): 6, (16, 16): 2},
    ),
  ],
)
def test_of_norms_and_activations_nothing_is_kept(spec, want):
  """Of 24 and 16 tokens: what matrix products take, or what goes into norms
  and activations, once each, in bfloat16; and exponentials in float32."""
  p, t = 24, 16
  model = models.make(spec, vocab_size=V).attending("dense")
  inputs = (
    jnp.zeros((B, p), jnp.int32),
    jnp.ones((B, p), bool),
    jnp.zeros((B, 1, t), jnp.int32),
    jnp.ones((B, 1, t), bool),
  )
  params = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16),
    jax.eval_shape(model.init, jax.random.key(0)),
  )

  def loss(params):
    return model.hidden(params, *inputs).completions.sum()

  kept = collections.Counter()
  for equation in jax.make_jaxpr(jax.grad(loss))(params).jaxpr.eqns:
    loop = equation.params
    if equation.primitive.name == "scan" and not loop["reverse"]:
      for x in equation.outvars[loop["num_carry"] :]:
        _, _, *shape = x.aval.shape
        kept[tuple(shape)] += x.aval.size * x.aval.dtype.itemsize
  for shape, times in want.items():
    one = 2 * LAYERS * B * math.prod(shape)  # bytes
    assert kept[shape] == times * one, (shape, kept)


def test_the_learner_asks_the_model_for_it():
  model = models.make("decoder(width=8, heads=2)", vocab_size=V)
  learner = Learner("sft", model, LearnerConfig(remat="dots"))
  assert learner.model.spec == model.spec
  params = jax.eval_shape(model.init, jax.random.key(0))
  inputs = (
    jnp.zeros((1, 6), jnp.int32),
    jnp.ones((1, 6), bool),
    jnp.zeros((1, 2, 3), jnp.int32),
    jnp.ones((1, 2, 3), bool),
  )
  for each, there in ((model, False), (learner.model, True)):
    jaxpr = str(jax.make_jaxpr(each.hidden)(params, *inputs))
    assert ("policy=Dots" in jaxpr) == there


def test_a_model_without_layers_refuses_it():
  with pytest.raises(UserError, match=r"^remat=block is set, but .* has no la"):
    Learner("sft", worlds.table()[0], LearnerConfig(remat="block"))


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_goes_on_with_or_without_it(tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  runs.train(log, tmp_path / "out", steps=2)
  run = runs.train(log, tmp_path / "out", steps=4, remat="block")
  assert run._about["model"] == runs.DECODER
  assert runs.metrics(run.folder)[-1]["step"] == 4
