"""Attention in parts is attention over the whole, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np

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
