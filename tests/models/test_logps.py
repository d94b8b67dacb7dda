"""Sequence log-probs: golden values, masks and precision."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign.models import logps

GOLDEN = pathlib.Path(__file__).parent / "golden" / "logps_from_logits.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


def shifted(case):
  """Logits and labels so that position t of both belong together."""
  logits = np.asarray(case["inputs"]["logits"])
  labels = np.asarray(case["inputs"]["labels"])
  if case["variant"] == "causal":
    return logits[:, :-1], labels[:, 1:]
  return logits, labels


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_log_probs_and_gradients_agree_with_peers(case):
  logits, labels = shifted(case)
  mask = labels != -100
  targets = np.where(mask, labels, 0)
  expected = case["expected"]

  def total(logits):
    tokens = logps.logps_from_logits(logits, targets)
    sums = logps.sequence_logps(tokens, mask)
    return sums.sum(), (tokens, sums)

  with jax.enable_x64(True):
    gradient = jax.jit(jax.grad(total, has_aux=True))
    grad, (tokens, sums) = gradient(jnp.asarray(logits))
    np.testing.assert_allclose(
      np.where(mask, tokens, 0), expected["token_logps"], rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(sums, expected["sum_logps"], rtol=1e-9)
    full = np.asarray(expected["grad_of_sum_logits"])
    if case["variant"] == "causal":
      assert not full[:, -1].any()
      full = full[:, :-1]
    np.testing.assert_allclose(grad, full, rtol=1e-9, atol=1e-11)


def inputs(t, dtype=jnp.float32):
  keys = jax.random.split(jax.random.key(0), 3)
  hidden = jax.random.normal(keys[0], (3, 2, t, 16), dtype)
  unembedding = jax.random.normal(keys[1], (16, 50), dtype)
  targets = jax.random.randint(keys[2], (3, 2, t), 0, 50)
  return hidden, unembedding, targets


def test_a_softcap_bounds_the_logits():
  hidden, unembedding, targets = inputs(5)
  tokens = logps.token_logps(hidden, unembedding, targets, softcap=2.0)
  logits = 2 * np.tanh(np.asarray(hidden @ unembedding, np.float64) / 2)
  every = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  expected = np.take_along_axis(every, np.asarray(targets)[..., None], -1)
  np.testing.assert_allclose(tokens, expected[..., 0], atol=1e-5)
  assert np.abs(hidden @ unembedding).max() > 4


def test_bfloat16_states_are_summed_in_float32():
  hidden, unembedding, targets = inputs(256, jnp.bfloat16)
  token_logps = jax.jit(logps.token_logps)
  tokens = token_logps(hidden, unembedding, targets)
  assert tokens.dtype == jnp.float32
  exact = token_logps(
    hidden.astype(jnp.float32), unembedding.astype(jnp.float32), targets
  )
  mask = jnp.ones(targets.shape, bool)
  np.testing.assert_allclose(
    logps.sequence_logps(tokens, mask),
    logps.sequence_logps(exact, mask),
    rtol=1e-5,
  )


def test_what_the_mask_hides_counts_for_nothing():
  tokens = jnp.asarray([[[-1.0, -2.0, -jnp.inf]]])
  mask = jnp.asarray([[[True, True, False]]])
  assert logps.sequence_logps(tokens, mask)[0, 0] == -3.0
  grad = jax.grad(lambda x: logps.sequence_logps(x, mask).sum())(tokens)
  np.testing.assert_array_equal(grad[0, 0], [1.0, 1.0, 0.0])
