"""`offalign.testing.evaluate`: what it takes, refuses and leaves alone."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign import losses
from offalign.errors import UserError
from offalign.testing import evaluate
from offalign.types import Kind

PAIR = {"logps": [[-1.0, -2.0]], "ref_logps": [[-1.5, -1.5]]}


def test_one_table_serves_every_loss():
  got = evaluate("dpo", **PAIR, rewards=[[1, 0]], labels=[[1, 0]], values=[3])
  assert got.grads.keys() == {"logps"}
  np.testing.assert_array_equal(got.values, evaluate("dpo", **PAIR).values)


def test_lists_arrays_and_loss_objects_are_taken():
  columns = {name: jnp.asarray(x, jnp.float32) for name, x in PAIR.items()}
  got = evaluate(losses.get("dpo"), **columns)
  assert got.values.dtype == got.grads["logps"].dtype == np.float64
  np.testing.assert_allclose(got.values, evaluate("dpo", **PAIR).values)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_narrower_types_are_computed_in_float32(dtype):
  got = evaluate("dpo(beta=3.0)", **PAIR, dtype=dtype)
  wide = evaluate("dpo(beta=3.0)", **PAIR)
  np.testing.assert_allclose(got.values, wide.values, rtol=1e-6)
  assert (got.values != wide.values).any()


@pytest.mark.parametrize("values", [[0.5, 1.0], [[0.5], [1.0]]])
def test_gradients_have_the_shape_of_what_was_given(values):
  column = [[-1.0], [-2.0]]
  got = evaluate(
    "dro_v", logps=column, ref_logps=column, rewards=column, values=values
  )
  assert got.grads["values"].shape == np.shape(values)
  assert got.grads["logps"].shape == (2, 1)


@pytest.mark.parametrize(
  ("spec", "columns", "message"),
  [
    (
      "dpo",
      {"logps": [[-1.0, -2.0]]},
      "loss 'dpo' needs ref_logps; pass ref_logps=...",
    ),
    (
      "kto(threshold=batch)",
      {"logps": [[-1.0]], "ref_logps": [[-1.0]], "kl": 0.0},
      "loss 'kto(threshold=batch)' needs rewards; pass rewards=...",
    ),
    (
      "sft",
      {"logps": [[-1.0]]},
      "loss 'sft' needs lengths; pass lengths=...",
    ),
    ("sft", {"logps": [-1.0]}, "logps must be [B, K], not of shape (1,)"),
    (
      "dpo",
      {"logps": [[-1.0, -2.0]], "ref_logps": [-1.0, -2.0]},
      "ref_logps has shape (2,), expected (1, 2) to go with logps of shape "
      "(1, 2)",
    ),
    (
      "kto",
      {**PAIR, "labels": [[1, 0]], "kl": [0.0]},
      "kl has shape (1,), expected () to go with logps of shape (1, 2)",
    ),
    (
      "dpo",
      {"logps": [[-1.0]], "ref_logps": [[-1.0]]},
      "loss 'dpo' takes pairs: logps must be [B, 2], not [1, 1]",
    ),
  ],
)
def test_mistakes_are_named(spec, columns, message):
  with pytest.raises(UserError) as caught:
    evaluate(spec, **columns)
  assert str(caught.value) == message


@pytest.mark.parametrize(
  ("mean", "missing"),
  [
    ("reward_mean", "rewards"),
    ("length_mean", "lengths"),
    ("desirable_length_mean", "labels"),
  ],
)
def test_a_batch_mean_asks_for_the_column_that_it_is_of(
  own_registry, mean, missing
):
  losses.register(
    "theirs", kind=Kind.SINGLE, needs=(mean,), paper="-", when="-", formula="-"
  )(lambda scores: scores.logps[:, 0] * getattr(scores, mean))
  columns = {"rewards": [[2.0]], "lengths": [[3]], "labels": [[True]]}
  got = evaluate("theirs", logps=[[-5.0]], **columns)
  assert got.values.tolist() == [{"reward_mean": -10.0}.get(mean, -15.0)]
  del columns[missing]
  with pytest.raises(UserError, match=f"needs {missing}"):
    evaluate("theirs", logps=[[-5.0]], **columns)


def test_float64_stays_inside():
  double = jax.jit(lambda x: x * 2)
  assert double(1.0).dtype == jnp.float32
  assert evaluate("dpo", **PAIR).values.dtype == np.float64
  assert double(1.0).dtype == jnp.float32
  assert jnp.asarray(1.0).dtype == jnp.float32
  with pytest.raises(UserError):
    evaluate("dpo", logps=[[0.0, 0.0]])
  assert jnp.asarray(1.0).dtype == jnp.float32


def test_float64_is_each_threads_own():
  # Beyond float32: 1e-12 apart.
  table = {"logps": [[-1.0, -1.0 - 1e-12]], "ref_logps": [[-1.0, -1.0]]}
  want = evaluate("ipo(tau=0.5)", **table).values
  assert want[0] != 1.0

  def work(i):
    if i % 2:
      return evaluate("ipo(tau=0.5)", **table).values
    return jnp.ones(2).sum().dtype

  with ThreadPoolExecutor(4) as pool:
    done = list(pool.map(work, range(40)))
  for i, got in enumerate(done):
    assert got == (want if i % 2 else jnp.float32)
