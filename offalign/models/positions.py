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


def aligned(mask: Array) -> Array:
  """Where to take the tokens of each row from so that padding comes first.

  Args:
    mask: bool [B, P].

  Returns:
    int [B, P]; real tokens keep their order.
  """
  return jnp.argsort(mask, axis=1, stable=True)


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
    yarn: how YaRN mixes the two rates, in place of `smooth`.
    share: part of a head's coordinates that turn, the first ones.
    gain: factor of the coordinates that turn, which YaRN makes larger.
  """

  theta: float = 10_000.0
  factor: float = 1.0
  smooth: tuple[float, float, float] | None = None
  yarn: "Yarn | None" = None
  share: float = 1.0
  gain: float = 1.0

  def rates(self, head_dim: int) -> np.ndarray:
    """Rotation rates of a head's pairs; radians a token.

    Args:
      head_dim: D.

    Returns:
      float32 [share * D / 2].
    """
    dim = int(head_dim * self.share)
    even = np.arange(0, dim, 2, dtype=np.float32)
    rates = 1 / np.float32(self.theta) ** (even / np.float32(dim))
    if self.yarn is not None:
      kept = self.yarn.kept(dim, self.theta)
      return kept * rates + (1 - kept) * rates / np.float32(self.factor)
    if self.smooth is None:
      return rates / np.float32(self.factor)
    low, high, length = (np.float32(x) for x in self.smooth)
    turns = length * rates / np.float32(2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * rates + (1 - kept) * rates / np.float32(self.factor)


@dataclasses.dataclass(frozen=True)
class Yarn:
  """YaRN: which pairs keep their rate (arXiv:2309.00071, section 3.2).

  Pairs that turn more than `fast` times within `length` tokens keep their
  rate, pairs that turn fewer than `slow` times have it divided, and there is
  a linear ramp over the pairs in between.

  Attributes:
    fast: turns, beta_fast of config.json.
    slow: turns, beta_slow.
    length: tokens, original_max_position_embeddings.
    truncate: whether the ends of the ramp are whole pairs.
  """

  fast: float
  slow: float
  length: float
  truncate: bool = True

  def kept(self, dim: int, theta: float) -> np.ndarray:
    """How much of its rate each pair keeps, float32 [dim / 2], in 0 to 1."""

    def pair(turns: float) -> float:
      ratio = self.length / (turns * 2 * math.pi)
      return dim * math.log(ratio) / (2 * math.log(theta))

    low, high = pair(self.fast), pair(self.slow)
    if self.truncate:
      low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
      high += 0.001  # as transformers does, so that nothing is divided by 0
    ramp = (np.arange(dim // 2, dtype=np.float32) - np.float32(low)) / (
      np.float32(high - low)
    )
    return 1 - np.clip(ramp, 0, 1)


NOPE = Rope(factor=math.inf)
"""No position: nothing turns (arXiv:2305.19466)."""


class Rotation(NamedTuple):
  """Rotary position embedding: turns pairs of a head's coordinates.

  Attributes:
    cos: [B, S, 1, n], of the n pairs that turn: D / 2, or fewer.
    sin: [B, S, 1, n].
  """

  cos: Array
  sin: Array

  @classmethod
  def each(
    cls, positions: Array, ropes: list[Rope], head_dim: int
  ) -> "Rotation":
    """Rotations at positions [B, S], stacked: one for each of `ropes`."""
    rates = np.stack([rope.rates(head_dim) for rope in ropes])
    angles = jnp.einsum("bs,nr->nbsr", positions.astype(jnp.float32), rates)
    angles = angles[..., None, :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if any(rope.gain != 1 for rope in ropes):
      each = np.array([rope.gain for rope in ropes], np.float32)
      gains = jnp.asarray(each).reshape(-1, 1, 1, 1, 1)
      cos, sin = gains * cos, gains * sin
    return cls(cos, sin)

  def pick(self, which: Array | None) -> "Rotation":
    """Picks one of the stacked rotations; None picks the only one."""
    index = 0 if which is None else which
    return Rotation(self.cos[index], self.sin[index])

  def __call__(self, x: Array) -> Array:
    """[B, S, H, D] -> [B, S, H, D]; coordinate i pairs with i + n.

    n is D / 2, or fewer where the last coordinates do not turn.
    """
    n = self.cos.shape[-1]
    wide = x.astype(layers.wider(x.dtype))
    a, b = wide[..., :n], wide[..., n : 2 * n]
    turned = (a * self.cos - b * self.sin, b * self.cos + a * self.sin)
    rest = () if 2 * n == x.shape[-1] else (wide[..., 2 * n :],)
    return jnp.concatenate((*turned, *rest), axis=-1).astype(x.dtype)


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

  def by_distance(self, queries: int, keys: int) -> Array:
    """Biases at distances 1 - T, ..., S - 1: [H, T + S - 1], as above."""
    which = bucket(
      jnp.arange(1 - queries, keys),
      bidirectional=self.bidirectional,
      buckets=self.buckets,
      max_distance=self.max_distance,
    )
    bias = self.embedding(which)
    return bias.astype(layers.wider(bias.dtype)).T


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
