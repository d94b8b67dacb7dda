"""Mixture of experts: a router, and experts of which each token takes a few.

Tokens are sorted by the expert that they take and cut into blocks, none of
which has two experts; a scan over the blocks then multiplies each by the
weights of its expert. So a token costs its own experts and a share of the
blocks' padding, and no intermediate has an axis of all experts. On a mesh,
each device sorts the rows that it holds, and the devices of "tensor" share
the inside of every expert, which balances them whatever the routers do.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from offalign.distributed import constraints, sharding
from offalign.models import layers
from offalign.models.base import Routed
from offalign.models.decoder.config import DecoderConfig, Mixture
from offalign.types import Array

_SMALLEST, _LARGEST = 8, 128  # tokens of a block


class Experts(nnx.Module):
  """A router, and the experts' gated MLPs: down(act(gate(x)) * up(x)).

  The params have no leaf called kernel: LoRA leaves them as they are.
  """

  def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
    mixture = config.experts
    assert mixture is not None
    self.mixture: Mixture = mixture
    self.activation = config.activation
    n, d, inner = mixture.count, config.width, mixture.width
    share = (2 * config.layers) ** -0.5  # see `Block`

    def weight(*shape: int, std: float) -> nnx.Param:
      return nnx.Param(std * jax.random.normal(rngs.params(), shape))

    self.router = weight(d, n, std=d**-0.5)
    self.gate = weight(n, d, inner, std=d**-0.5)
    self.up = weight(n, d, inner, std=d**-0.5)
    self.down = weight(n, inner, d, std=share * inner**-0.5)

  def __call__(
    self, x: Array, counted: Array | None
  ) -> tuple[Array, Routed | None]:
    """Computes the mixture.

    Args:
      x: [B, S, d].
      counted: [B, S] how much each token counts in the second result; None
        for no such result.

    Returns:
      [B, S, d], and what the router did with the tokens that count.
    """
    weights = [w[...] for w in (self.router, self.gate, self.up, self.down)]
    mixed = functools.partial(
      _mixed, mixture=self.mixture, activation=self.activation
    )
    mesh = constraints.mesh()
    if mesh is None:
      y, routed = mixed(x, counted, weights)
    else:
      n = mesh.shape["tensor"]
      axis = "tensor" if n > 1 and self.mixture.width % n == 0 else None
      rows = PartitionSpec(sharding.BATCH_AXES)
      columns = PartitionSpec(None, None, axis)
      down = PartitionSpec(None, axis, None)
      y, routed = jax.shard_map(
        functools.partial(mixed, summed=axis),
        in_specs=(rows, rows, [PartitionSpec(), columns, columns, down]),
        out_specs=(rows, rows),
      )(x, counted, weights)
    if routed is None:
      return y, None
    return y, jax.tree.map(lambda rows: rows.sum(axis=0), routed)


def _mixed(
  x: Array,
  counted: Array | None,
  weights: list[Array],
  *,
  mixture: Mixture,
  activation: str,
  summed: str | None = None,
) -> tuple[Array, Routed | None]:
  """Computes the mixture of the rows that a device holds.

  Args:
    x: [B, S, d].
    counted: [B, S] or None.
    weights: of the router [d, E], gate [E, d, n], up and down [E, n, d].
    mixture: sizes and switches.
    activation: of the experts.
    summed: the axis of the mesh that splits n, if any.

  Returns:
    [B, S, d], and what the router did with each row, leaves [B, E].
  """
  router, *experts = weights
  scores = x @ router
  probs = jax.nn.softmax(scores.astype(layers.wider(x.dtype)), axis=-1)
  shares, chosen = jax.lax.top_k(probs, mixture.chosen)
  if mixture.normalised:
    shares = shares / shares.sum(axis=-1, keepdims=True)
  tokens = x.reshape(-1, x.shape[-1])
  each = _chosen_experts(
    tokens, chosen.reshape(-1, mixture.chosen), experts, activation
  )
  shares = shares.reshape(-1, mixture.chosen).astype(x.dtype)
  y = jnp.einsum("tkd,tk->td", each, shares)
  if summed is not None:
    y = jax.lax.psum(y, summed)
  y = y.reshape(x.shape)
  if counted is None:
    return y, None
  wide = counted.astype(probs.dtype)
  taken = jax.nn.one_hot(chosen, mixture.count, dtype=probs.dtype).sum(axis=2)
  counts, mass = (
    jnp.einsum("bse,bs->be", each, wide)
    for each in (jax.lax.stop_gradient(taken), probs)
  )
  return y, Routed(counts, mass)


class Blocks(NamedTuple):
  """Where tokens go when they are sorted into blocks of one expert each.

  Attributes:
    source: int [n, b], the number of the choice (token * k + choice) that a
      place holds; t * k where it holds none.
    expert: int [n], the expert of each block.
    place: int [t * k], where among the n * b places each choice went.
  """

  source: Array
  expert: Array
  place: Array


def sort_into_blocks(chosen: Array, experts: int) -> Blocks:
  """Sorts choices by expert, and pads each expert's to whole blocks.

  The number of blocks is the largest that any choice can need, so that
  shapes do not depend on the router.

  Args:
    chosen: int [t, k], the experts of each token.
    experts: E.
  """
  flat = chosen.reshape(-1)
  m = flat.size
  b = _SMALLEST
  while b < _LARGEST and 8 * b * experts <= m:
    b *= 2
  n = (m + min(experts, m) * (b - 1)) // b
  order = jnp.argsort(flat, stable=True).astype(jnp.int32)
  sizes = jnp.zeros(experts, jnp.int32).at[flat].add(1)
  padded = (sizes + b - 1) // b * b
  ends = jnp.cumsum(padded, dtype=jnp.int32)
  shift = ends - padded - (jnp.cumsum(sizes, dtype=jnp.int32) - sizes)
  slot = jnp.arange(m, dtype=jnp.int32) + shift[flat[order]]
  source = jnp.full(n * b, m, jnp.int32).at[slot].set(order)
  starts = b * jnp.arange(n, dtype=jnp.int32)
  expert = jnp.searchsorted(ends, starts, side="right").astype(jnp.int32)
  return Blocks(
    source=source.reshape(n, b),
    expert=jnp.minimum(expert, experts - 1),
    place=jnp.zeros(m, jnp.int32).at[order].set(slot),
  )


def _chosen_experts(
  tokens: Array, chosen: Array, experts: list[Array], activation: str
) -> Array:
  """Computes the experts that each token takes: [t, d] -> [t, k, d]."""
  gate, up, down = experts
  act = layers.ACTIVATIONS[activation]
  blocks = sort_into_blocks(chosen, len(gate))
  rows = jnp.take(
    tokens,
    blocks.source // chosen.shape[1],
    axis=0,
    mode="fill",
    fill_value=0,
  )

  # The backward pass keeps products, and looks weights up again: a scan
  # would keep those of every block.
  @functools.partial(
    jax.checkpoint,
    prevent_cse=False,
    policy=jax.checkpoint_policies.dots_saveable,
  )
  def one(_: None, block: tuple[Array, Array]) -> tuple[None, Array]:
    x, expert = block
    inner = act(x @ gate[expert]) * (x @ up[expert])
    return None, inner @ down[expert]

  _, y = jax.lax.scan(one, None, (rows, blocks.expert))
  return y.reshape(-1, tokens.shape[1])[blocks.place].reshape(
    *chosen.shape, tokens.shape[1]
  )
