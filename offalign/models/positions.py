"""Where tokens are: from masks, as rotations, and as relative biases."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx

from offalign.models import layers
from offalign.types import Array

_ROPE_THETA = 10_000.0


def from_mask(mask: Array) -> Array:
  """[B, P] 0, 1, ... over the real tokens, wherever they lie."""
  return jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)


def lengths(mask: Array) -> Array:
  """[B] real tokens."""
  return mask.sum(axis=1)


def last_real(states: Array, mask: Array) -> Array:
  """[B, P, d] -> [B, d] at the last real token."""
  last = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1])[None], 0), axis=1)
  return jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]


class Rotation(NamedTuple):
  """Turns pairs of a head's coordinates by angles that grow with position.

  Attributes:
    cos: [B, S, 1, D / 2].
    sin: [B, S, 1, D / 2].
  """

  cos: Array
  sin: Array

  @classmethod
  def at(cls, positions: Array, head_dim: int) -> "Rotation":
    """The rotation at each of [B, S] positions."""
    rates = _ROPE_THETA ** (-jnp.arange(0, head_dim, 2) / head_dim)
    angles = jnp.einsum("bs,r->bsr", positions.astype(rates.dtype), rates)
    return cls(jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None])

  def __call__(self, x: Array) -> Array:
    """[B, S, H, D] -> [B, S, H, D]; coordinate i pairs with i + D / 2."""
    a, b = jnp.split(x.astype(layers.wider(x.dtype)), 2, axis=-1)
    turned = (a * self.cos - b * self.sin, b * self.cos + a * self.sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class RelativeBias(nnx.Module):
  """A number for each head and bucket of distances, added to the scores.

  From T5 (arXiv:1910.10683, section 2.1).
  """

  def __init__(
    self,
    heads: int,
    std: float,
    *,
    bidirectional: bool,
    buckets: int,
    max_distance: int,
    rngs: nnx.Rngs,
  ):
    self.bidirectional = bidirectional
    self.buckets = buckets
    self.max_distance = max_distance
    self.embedding = layers.Embedding(buckets, heads, std, rngs=rngs)

  def __call__(self, queries: Array, keys: Array) -> Array:
    """Indices [T] and [S] -> [1, H, T, S], in float32 or wider."""
    which = bucket(
      keys[None, :] - queries[:, None],
      bidirectional=self.bidirectional,
      buckets=self.buckets,
      max_distance=self.max_distance,
    )
    bias = self.embedding(which)
    return bias.astype(layers.wider(bias.dtype)).transpose(2, 0, 1)[None]


def bucket(
  distance: Array, *, bidirectional: bool, buckets: int, max_distance: int
) -> Array:
  """The bucket of key position - query position.

  Half of the buckets hold one distance each; the others grow in size up to
  `max_distance`, and the last holds everything beyond. If bidirectional, keys
  after the query have buckets of their own; else they are at distance 0.
  """
  offset = jnp.zeros_like(distance)
  if bidirectional:
    buckets //= 2
    offset = jnp.where(distance > 0, buckets, 0)
    distance = jnp.abs(distance)
  else:
    distance = jnp.maximum(-distance, 0)
  exact = buckets // 2
  ratio = jnp.maximum(distance, 1).astype(jnp.float32) / exact
  octaves = jnp.log(ratio) / math.log(max_distance / exact)
  far = exact + (octaves * (buckets - exact)).astype(distance.dtype)
  far = jnp.minimum(far, buckets - 1)
  return offset + jnp.where(distance < exact, distance, far)
