"""A decoder block: attention, and an MLP or experts."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from offalign.models import layers, positions
from offalign.models.base import Routed
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.experts import Experts
from offalign.types import Array


class Block(nnx.Module):
  """A decoder block: attention and MLP, each normed and added."""

  def __init__(
    self, config: DecoderConfig, *, sparse: bool = False, rngs: nnx.Rngs
  ):
    """Makes the block.

    Args:
      config: the decoder's.
      sparse: whether it has experts in place of the MLP.
      rngs: of the first weights.
    """
    d, inner = config.width, config.inner
    queries = config.heads * config.head_size
    keys = config.groups * config.head_size
    # The stream is a sum of 2 L branches; each starts with its share.
    share = (2 * config.layers) ** -0.5

    def linear(name: str, n: int, m: int, scale: float = 1.0) -> layers.Linear:
      bias = name in config.biases
      return layers.Linear(n, m, scale * n**-0.5, bias=bias, rngs=rngs)

    self.heads = config.heads
    self.groups = config.groups
    self.activation = config.activation
    before, after = config.pre_norms, config.post_norms
    self.attention_norm = norm(config, d) if before else None
    self.query = linear("query", d, queries)
    self.key = linear("key", d, keys)
    self.value = linear("value", d, keys)
    self.out = linear("out", queries, d, share)
    self.together = config.qk_norm == "all"
    sizes = (queries, keys) if self.together else (config.head_size,) * 2
    self.query_norm, self.key_norm = (
      norm(config, size) if config.qk_norm else None for size in sizes
    )
    self.mlp_norm = norm(config, d) if before else None
    gated = config.gated and not sparse
    self.gate = linear("gate", d, inner) if gated else None
    self.up = None if sparse else linear("up", d, inner)
    self.down = None if sparse else linear("down", inner, d, share)
    self.experts = Experts(config, rngs=rngs) if sparse else None
    self.attention_post_norm = norm(config, d) if after else None
    self.mlp_post_norm = norm(config, d) if after else None

  def __call__(
    self,
    x: Array,
    rotation: positions.Rotation | None,
    attention: layers.Attention,
    cache: Any,
    counted: Array | None = None,
  ) -> tuple[Array, Any, Routed | None]:
    """Runs the block.

    Args:
      x: [B, S, d].
      rotation: RoPE, if any.
      attention: from `offalign.models.decoder.attention`.
      cache: the layer's.
      counted: see `Experts`.

    Returns:
      [B, S, d], the layer's new cache, and what its router did.
    """
    h = _maybe(self.attention_norm, x)
    q, k = self.query(h), self.key(h)
    if self.together:
      q, k = _maybe(self.query_norm, q), _maybe(self.key_norm, k)
    q = layers.split_heads(q, self.heads)
    k = layers.split_heads(k, self.groups)
    v = layers.split_heads(self.value(h), self.groups)
    if not self.together:
      q, k = _maybe(self.query_norm, q), _maybe(self.key_norm, k)
    if rotation is not None:
      q, k = rotation(q), rotation(k)
    mixed, cache = attention(q, k, v, cache)
    branch = self.out(mixed.reshape(*x.shape[:-1], -1))
    x = x + _maybe(self.attention_post_norm, branch)
    branch, routed = self._mlp(_maybe(self.mlp_norm, x), counted)
    return x + _maybe(self.mlp_post_norm, branch), cache, routed

  def _mlp(
    self, h: Array, counted: Array | None
  ) -> tuple[Array, Routed | None]:
    if self.experts is not None:
      return self.experts(h, counted)
    assert self.up is not None
    gate = None if self.gate is None else self.gate(h)
    return layers.light(self._down)(self.up(h), gate), None

  def _down(self, up: Array, gate: Array | None) -> Array:
    assert self.down is not None
    activation = layers.ACTIVATIONS[self.activation]
    if gate is None:
      return self.down(activation(up))
    return self.down(activation(gate) * up)


def norm(
  config: DecoderConfig, width: int
) -> layers.RMSNorm | layers.LayerNorm:
  """Makes the norm that a decoder uses, over the last axis."""
  if config.norm == "layer":
    return layers.LayerNorm(width, config.epsilon)
  return layers.RMSNorm(width, config.epsilon, plus_one=config.plus_one)


def _maybe(function: Callable[[Array], Array] | None, x: Array) -> Array:
  return x if function is None else function(x)
