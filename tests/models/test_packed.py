"""Packed rows give every family the states that rows of its own give."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packing_cases import GEMMA_2, LEARNED, T5, build, everything, packed, rows

pytestmark = pytest.mark.slow


@pytest.fixture(
  scope="module", params=[GEMMA_2, LEARNED, T5], ids=["gemma2", "learned", "t5"]
)
def case(request):
  model = build(request.param)
  # Norms start at 1 and hide what they do.
  params = jax.tree.map(
    lambda x: x + 0.1 * jnp.cos(1.7 * jnp.arange(x.size)).reshape(x.shape),
    jax.jit(model.init)(jax.random.key(0)),
  )

  @jax.jit
  def compute(batch):
    with jax.numpy_dtype_promotion("strict"):
      return jax.value_and_grad(
        lambda params: everything(model, params, batch), has_aux=True
      )(params)

  return SimpleNamespace(
    compute=compute, plain=compute(rows()), is_t5=request.param == T5
  )


def test_states_and_gradients_are_those_of_rows_of_their_own(case):
  (_, want), want_grads = case.plain
  (_, got), grads = case.compute(packed(rows()))
  for name in want:
    np.testing.assert_allclose(
      got[name], want[name], rtol=1e-5, atol=1e-5, err_msg=name
    )
  scale = max(np.abs(g).max() for g in jax.tree.leaves(want_grads))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * scale),
    grads,
    want_grads,
  )


@pytest.mark.parametrize("name", ["prompt_owner", "segment", "position"])
def test_a_mistake_in_the_rows_would_show(case, name):
  """Sequences that saw their neighbours, or did not know where they are."""
  batch = packed(rows())
  there = getattr(batch.packed, name)
  # The row's first sequence in place of each, so that none is told apart.
  wrong = np.broadcast_to(there[..., :1], there.shape)
  if name == "position":
    wrong = there // 2
  broken = batch.packed.replace(**{name: np.asarray(wrong)})
  (_, found), _ = case.compute(dataclasses.replace(batch, packed=broken))
  off = np.abs(found["tokens"] - case.plain[0][1]["tokens"]).max()
  # A T5 reads distances in the row, which are those of the tokens.
  if case.is_t5 and name == "position":
    assert off < 1e-5
  else:
    assert off > 1e-2
