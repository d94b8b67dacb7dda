"""The blocks of T5's encoder and decoder."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from offalign.models import layers, positions
from offalign.models.attending import Attend
from offalign.models.base import Remat
from offalign.models.sight import Sight
from offalign.models.t5.config import T5Config
from offalign.types import Array

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "gelu": jax.nn.gelu,  # the tanh approximation
  "relu": jax.nn.relu,
  "silu": jax.nn.silu,
}


class Attention(nnx.Module):
  """An attention layer: its projections and its norm."""

  def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
    d, inner = config.width, config.heads * config.head_dim
    self.heads = config.heads
    self.norm = layers.RMSNorm(d, config.epsilon)
    # The scores' 1/sqrt(D) is part of this initialisation.
    std = (d * config.head_dim) ** -0.5
    self.query = layers.Linear(d, inner, std, rngs=rngs)
    self.key = layers.Linear(d, inner, d**-0.5, rngs=rngs)
    self.value = layers.Linear(d, inner, d**-0.5, rngs=rngs)
    self.out = layers.Linear(inner, d, inner**-0.5, rngs=rngs)

  def keys_values(self, x: Array) -> tuple[Array, Array]:
    """Keys and values: [B, S, d] -> two of [B, S, H, D]."""
    k, v = self.key(x), self.value(x)
    return layers.split_heads(k, self.heads), layers.split_heads(v, self.heads)

  def over_itself(
    self, x: Array, attention: layers.Attention, cache: Any
  ) -> tuple[Array, Any]:
    """Self-attention: [B, S, d] -> [B, S, d], and the new cache."""
    h = self.norm(x)
    q = layers.split_heads(self.query(h), self.heads)
    mixed, cache = attention(q, *self.keys_values(h), cache)
    return x + self.out(mixed.reshape(*x.shape[:-1], -1)), cache

  def over_memory(
    self, x: Array, memory: tuple[Array, Array], attend: Attend, seen: Sight
  ) -> Array:
    """Cross-attention: [B, S, d] -> [B, S, d].

    Args:
      x: [B, S, d].
      memory: keys and values of the encoder, [B, P, H, D] each.
      attend: computes attention.
      seen: the encoder's states that each input may see.
    """
    q = layers.split_heads(self.query(self.norm(x)), self.heads)
    mixed = attend(q, *memory, seen).mixed
    return x + self.out(mixed.reshape(*x.shape[:-1], -1))


class MLP(nnx.Module):
  """The MLP and its norm: act(x W), or act(x W) * (x U), projected back."""

  def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
    d, inner = config.width, config.inner
    self.activation = config.activation
    self.gated = config.gated
    self.norm = layers.RMSNorm(d, config.epsilon)
    if config.gated:
      self.gate = layers.Linear(d, inner, d**-0.5, rngs=rngs)
    self.up = layers.Linear(d, inner, d**-0.5, rngs=rngs)
    self.down = layers.Linear(inner, d, inner**-0.5, rngs=rngs)

  def __call__(self, x: Array) -> Array:
    """[B, S, d] -> [B, S, d]."""
    h = self.norm(x)
    gate = self.gate(h) if self.gated else None
    return x + layers.light(self._down)(self.up(h), gate)

  def _down(self, up: Array, gate: Array | None) -> Array:
    act = _ACTIVATIONS[self.activation]
    return self.down(act(up) if gate is None else act(gate) * up)


class T5EncoderBlock(nnx.Module):
  """Attention over the prompt, then the MLP."""

  def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
    self.attention = Attention(config, rngs=rngs)
    self.mlp = MLP(config, rngs=rngs)

  def __call__(self, x: Array, attention: layers.Attention) -> Array:
    """[B, P, d] -> [B, P, d]."""
    x, _ = self.attention.over_itself(x, attention, None)
    return self.mlp(x)


class T5DecoderBlock(nnx.Module):
  """Attention over the past, attention over the prompt, then the MLP."""

  def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
    self.attention = Attention(config, rngs=rngs)
    self.cross = Attention(config, rngs=rngs)
    self.mlp = MLP(config, rngs=rngs)

  def __call__(
    self,
    x: Array,
    attention: layers.Attention,
    memory: tuple[Array, Array],
    attend: Attend,
    seen: Sight,
    cache: Any,
  ) -> tuple[Array, Any]:
    """[B, S, d] -> [B, S, d], and the new cache; see `Attention`."""
    x, cache = self.attention.over_itself(x, attention, cache)
    x = self.cross.over_memory(x, memory, attend, seen)
    return self.mlp(x), cache


class Tower(nnx.Module):
  """The encoder's or the decoder's blocks, which share one position bias."""

  def __init__(
    self,
    block: Callable[..., nnx.Module],
    config: T5Config,
    depth: int,
    *,
    bidirectional: bool,
    rngs: nnx.Rngs,
  ):
    self.remat: Remat = "none"
    self.bias = positions.RelativeBias(
      config.heads,
      config.width**-0.5,
      bidirectional=bidirectional,
      buckets=config.buckets,
      max_distance=config.max_distance,
      rngs=rngs,
    )
    self.layers: Any = layers.stack(
      lambda rngs: block(config, rngs=rngs), depth, rngs
    )
    self.norm = layers.RMSNorm(config.width, config.epsilon)

  def __call__(
    self, x: Array, step: Callable[..., Any], cache: Any = None
  ) -> tuple[Array, Any]:
    """See `layers.scan`; [B, S, d] -> [B, S, d] after the final norm."""
    x, cache = layers.scan(self.layers, step, x, cache, remat=self.remat)
    return self.norm(x), cache
