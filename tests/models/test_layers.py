"""Attention in parts is attention over the whole, gradients too."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign.models import layers


def test_merged_parts_are_the_whole():
  rng = np.random.default_rng(0)
  q, k, v = (
    jnp.asarray(rng.normal(0, 2, (2, n, 3, 4)), jnp.float32) for n in (5, 7, 7)
  )
  mask = jnp.asarray(rng.random((2, 1, 5, 7)) < 0.6).at[..., 0].set(True)
  mask = mask.at[0, :, 2, 4:].set(False)  # a part without any key

  def whole(q, k, v):
    return layers.attend(q, k, v, mask).mixed

  def parts(q, k, v):
    return layers.merge(
      layers.attend(q, k[:, :4], v[:, :4], mask[..., :4]),
      layers.attend(q, k[:, 4:], v[:, 4:], mask[..., 4:]),
    )

  def run(attention):
    weigh = lambda *x: jnp.sum(
      jnp.sin(jnp.arange(120.0)) * attention(*x).ravel()
    )
    return attention(q, k, v), jax.grad(weigh, argnums=(0, 1, 2))(q, k, v)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    jax.jit(lambda: run(parts))(),
    jax.jit(lambda: run(whole))(),
  )


def test_queries_share_keys_in_turn_and_scores_are_bounded():
  rng = np.random.default_rng(0)
  q = rng.normal(0, 3, (2, 5, 6, 4))
  k, v = rng.normal(0, 3, (2, 2, 7, 3, 4))
  mask = np.arange(7) <= np.arange(5)[:, None] + 2
  found = layers.attend(
    *(jnp.asarray(x, jnp.float32) for x in (q, k, v)),
    jnp.asarray(mask)[None, None],
    scale=0.7,
    cap=2.0,
  )
  k, v = k.repeat(2, axis=2), v.repeat(2, axis=2)  # 0, 0, 1, 1, 2, 2
  scores = 2 * np.tanh(0.7 * np.einsum("bthd,bshd->bhts", q, k) / 2)
  weights = np.exp(scores) * mask
  total = weights.sum(-1)
  mixed = np.einsum("bhts,bshd->bthd", weights / total[..., None], v)
  np.testing.assert_allclose(found.mixed, mixed, atol=1e-5)
  mass = np.log(total).transpose(0, 2, 1)
  np.testing.assert_allclose(found.mass, mass, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
  "shape",
  [(1, 3, 5, 7), (2, 3, 5, 7), (2, 3, 1, 7), (1, 1, 5, 7)],
)
def test_a_bias_is_added_and_its_gradient_is_what_rows_share(shape, dtype):
  rng = np.random.default_rng(0)
  scores = jnp.asarray(rng.normal(size=(2, 3, 5, 7)), jnp.float32)
  bias = jnp.asarray(rng.normal(size=shape), dtype)

  def of(add):
    return jax.value_and_grad(
      lambda s, b: jnp.sum(jnp.sin(add(s, b))), argnums=(0, 1)
    )(scores, bias)

  found, expected = of(layers._biased), of(jnp.add)
  assert found[1][1].dtype == dtype
  chex.assert_trees_all_close(found, expected, rtol=2e-5, atol=1e-5)


def test_a_shared_biass_gradient_is_no_sum_over_leading_rows():
  """On CPUs, XLA takes thirty times as long for one as for a product."""
  scores, bias = jnp.ones((2, 3, 5, 7)), jnp.ones((1, 3, 5, 7))

  def gradient(add):
    grad = jax.grad(lambda b: jnp.sin(add(scores, b)).sum())
    return str(jax.make_jaxpr(grad)(bias))

  sums = "reduce_sum[axes=(0,)"
  assert sums in gradient(jnp.add)  # what is avoided
  assert sums not in gradient(layers._biased)
