"""Positions of tokens: from masks, as rotations (RoPE), as relative biases."""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from offalign.models import layers
from offalign.types import Array


def from_mask(mask: Array) -> Array:
  """Numbers the real tokens 0, 1, ..., wherever padding lies; int [B, P]."""
  return jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)


def lengths(mask: Array) -> Array:
  """Counts the real tokens of each row, [B]."""
  return mask.sum(axis=1)


def last_real(states: Array, mask: Array) -> Array:
  """Takes the state at the last real token: [B, P, d] -> [B, d]."""
  last = jnp.max(jnp.where(mask, jnp.arange(mask.shape[1])[None], 0), axis=1)
  return jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]


def near(
  mask: Array, queries: Array, keys: Array, window: Array | None
) -> Array:
  """Limits a mask to a sliding window: the last `window` keys of each query.

  Args:
    mask: bool [B, 1, T or 1, S].
    queries: [B or 1, T] positions.
    keys: [B or 1, S] positions.
    window: int [], or None for no limit.

  Returns:
    bool [B, 1, T, S]; the mask itself for None.
  """
  if window is None:
    return mask
  distance = queries[:, None, :, None] - keys[:, None, None, :]
  return jnp.logical_and(mask, distance < window)


@dataclasses.dataclass(frozen=True)
class Rope:
  """RoPE: how fast each pair of a head's coordinates turns (arXiv:2104.09864).

  Attributes:
    theta: pair i of n turns by theta^(-i / n) radians a token.
    factor: divisor of the rates: linear scaling (arXiv:2306.15595).
    smooth: (low, high, length) of Llama 3: pairs that turn more than `high`
      times within `length` tokens keep their rate, pairs that turn fewer than
      `low` times have it divided by `factor`, and pairs in between have a
      linear mix of the two rates. None: all rates are divided.
  """

  theta: float = 10_000.0
  factor: float = 1.0
  smooth: tuple[float, float, float] | None = None

  def rates(self, head_dim: int) -> np.ndarray:
    """Rotation rates of a head's pairs, float32 [D / 2]; radians a token."""
    even = np.arange(0, head_dim, 2, dtype=np.float32)
    rates = 1 / np.float32(self.theta) ** (even / np.float32(head_dim))
    if self.smooth is None:
      return rates / np.float32(self.factor)
    low, high, length = (np.float32(x) for x in self.smooth)
    turns = length * rates / np.float32(2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * rates + (1 - kept) * rates / np.float32(self.factor)


class Rotation(NamedTuple):
  """Rotary position embedding: turns pairs of a head's coordinates.

  Attributes:
    cos: [B, S, 1, D / 2].
    sin: [B, S, 1, D / 2].
  """

  cos: Array
  sin: Array

  @classmethod
  def each(cls, positions: Array, rates: list[np.ndarray]) -> "Rotation":
    """Rotations at positions [B, S], stacked: one for each entry of `rates`."""
    angles = jnp.einsum(
      "bs,nr->nbsr", positions.astype(jnp.float32), np.stack(rates)
    )[..., None, :]
    return cls(jnp.cos(angles), jnp.sin(angles))

  def pick(self, which: Array | None) -> "Rotation":
    """Picks one of the stacked rotations; None picks the only one."""
    index = 0 if which is None else which
    return Rotation(self.cos[index], self.sin[index])

  def __call__(self, x: Array) -> Array:
    """[B, S, H, D] -> [B, S, H, D]; coordinate i pairs with i + D / 2."""
    a, b = jnp.split(x.astype(layers.wider(x.dtype)), 2, axis=-1)
    turned = (a * self.cos - b * self.sin, b * self.cos + a * self.sin)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class RelativeBias(nnx.Module):
  """Relative position bias of T5 (arXiv:1910.10683, section 2.1).

  A number for each head and bucket of distances, added to the scores.
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
    """Indices [T] and [S] -> biases [1, H, T, S], in float32 or wider."""
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
  """The bucket of a distance, which is key position - query position.

  Half of the buckets hold one distance each; the others grow in size up to
  `max_distance`, and the last holds everything beyond. If bidirectional, keys
  after the query have buckets of their own; else they count as distance 0.
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
