"""Layers one by one give what a scan over stacked layers gives."""

import jax
import numpy as np
import pytest

from offalign import models
from offalign.models import apart, lora
from offalign.models.apart import Apart
from offalign.models.lora import LoraConfig, LowRank
from offalign.models.product import Turned

CONFIG = LoraConfig(rank=2, targets="all")


def test_a_slice_and_a_number_are_taken_of_either_form():
  stacked = {"a": np.arange(6).reshape(3, 2)}
  split = apart.split(stacked)
  assert apart.any_apart(split)
  assert not apart.any_apart(stacked)
  np.testing.assert_array_equal(apart.take(split, 1)["a"], [2, 3])
  np.testing.assert_array_equal(apart.take(stacked, 1)["a"], [2, 3])
  some = [apart.take(split, slice(0, 1)), apart.take(split, slice(1, 3))]
  joined = apart.join(some, np.concatenate)
  assert isinstance(joined["a"], Apart)
  assert len(joined["a"].parts) == 3


def _adapted(params):
  """The params with adapters that have an effect beside their kernels."""
  adapters = lora.init(CONFIG, jax.random.key(1), params)
  return lora.combine(CONFIG, params, jax.tree.map(lambda x: x + 0.1, adapters))


@pytest.mark.parametrize("adapt", [lambda params: params, _adapted])
@pytest.mark.parametrize(
  "spec", ["decoder(width=8, heads=2)", "t5(width=8, heads=2, head_dim=4)"]
)
def test_decoding_gives_the_same_states(spec, adapt):
  model = models.make(spec, vocab_size=9)
  params = adapt(jax.jit(model.init)(jax.random.key(0)))
  prompts = np.array([[3, 4, 5], [0, 6, 7]], np.int32)
  mask = np.array([[1, 1, 1], [0, 1, 1]], bool)
  cache, state = jax.jit(model.prefill, static_argnums=3)(
    params, prompts, mask, 2
  )
  decode = jax.jit(model.decode)
  split, rows = apart.split_params(params), model.rows(cache)
  assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(rows))
  stacked = rows
  for tokens in (prompts[:, 1], prompts[:, 2]):
    cache, state = decode(params, cache, tokens)
    rows, one = decode(split, rows, tokens)
    # Accelerators keep the weights stacked.
    stacked, other = decode(params, stacked, tokens)
    np.testing.assert_allclose(one, state, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other, state, rtol=1e-5, atol=1e-6)


def test_kernels_are_turned_beside_adapters_too():
  model = models.make("decoder(width=8, heads=2)", vocab_size=9)
  params = _adapted(jax.jit(model.init)(jax.random.key(0)))
  leaves = jax.tree.leaves(
    apart.split_params(params), is_leaf=lambda x: isinstance(x, LowRank)
  )
  found = [leaf for leaf in leaves if isinstance(leaf, LowRank)]
  assert found
  for leaf in found:
    assert all(isinstance(part, Turned) for part in leaf.kernel.parts)
    assert not any(isinstance(part, Turned) for part in leaf.a.parts)
