"""Chunked softmax: log-probs of tokens without the whole logits in memory.

The logits [tokens, V] are computed a piece of the vocabulary at a time and
reduced to three numbers a token: a maximum, a sum of exponentials, and the
logit of the target (Milakov and Gimelshein, arXiv:1805.02867). The backward
pass computes each piece again, from the states and the stored log-sum-exp,
and writes dlogits = g * (onehot - softmax) directly.

Pieces are cut from V and not from the tokens, because each then has the
gradient of its own columns: nothing of the size of the unembedding is summed
over pieces, and devices that share the tokens add up each column's gradient
once.

Where the vocabulary is split over devices, every piece takes columns from
each device's block, viewing [d, V] as [d, S, V / S]. Where these devices also
hold the same tokens, sums over the vocabulary stay separate by block until
the last piece, so the loops need no communication over the vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from offalign.types import Array

BUDGET = 64 * 2**20
"""Most bytes of logits that a device holds at one time, unless told."""
_LEAST = 1024  # columns; thinner products leave matrix units idle
_TILE = 128  # columns; pieces are multiples of it


@dataclasses.dataclass(frozen=True)
class Layout:
  """Which devices hold which logits. Changes no results.

  Attributes:
    devices: number of devices that share the logits, by tokens or by
      vocabulary.
    blocks: S, contiguous parts of the vocabulary, each on other devices. A
      vocabulary split in any other way is gathered.
    apart: whether the devices that share the vocabulary hold the same tokens.
  """

  devices: int = 1
  blocks: int = 1
  apart: bool = False


def layout(mesh: Mesh, vocab: int) -> Layout:
  """The layout on a mesh, for `sharding.state_shardings` of the vocabulary."""
  for axis in ("tensor", "fsdp"):
    blocks = mesh.shape.get(axis, 1)
    if blocks > 1 and vocab % blocks == 0:
      return Layout(mesh.size, blocks, apart=axis == "tensor")
  return Layout(mesh.size)


@dataclasses.dataclass(frozen=True)
class Plan:
  """How the vocabulary is cut into pieces.

  Attributes:
    blocks: see `Layout`.
    apart: see `Layout`.
    block: columns of each block; blocks * block = V.
    columns: columns that a piece takes from each block. The last piece ends
      where the block ends, and so may overlap the piece before.
    softcap: the model's bound on logits, see `soft_cap`.
    entropy: whether to compute entropies too.
  """

  blocks: int
  apart: bool
  block: int
  columns: int
  softcap: float | None
  entropy: bool

  @property
  def pieces(self) -> int:
    """Number of pieces."""
    return -(-self.block // self.columns)


def plan(
  tokens: int,
  vocab: int,
  *,
  chunk: int | None,
  layout: Layout,
  softcap: float | None,
  entropy: bool,
) -> Plan:
  """Chooses the pieces of the vocabulary.

  Args:
    tokens: number of tokens on all devices together.
    vocab: V.
    chunk: columns of a piece on each device; None for as many as `BUDGET`
      allows, but at least 1,024: so few take no more than the tokens' states.
    layout: which devices hold which logits.
    softcap: see `Plan`.
    entropy: see `Plan`.
  """
  blocks = layout.blocks
  if vocab % blocks:
    blocks = 1  # no sharding could have cut it
  block = vocab // blocks
  columns = chunk
  if columns is None:
    each = 4 * -(-tokens * blocks // layout.devices)  # bytes of a column
    most = max(BUDGET // each, _LEAST)
    # As many pieces as that takes, all of one size.
    columns = -(-block // -(-block // most))
    columns = -(-columns // _TILE) * _TILE
  columns = min(columns, block)
  return Plan(blocks, layout.apart, block, columns, softcap, entropy)


def soft_cap(x: Array, cap: float | None) -> Array:
  """Bounds x softly, cap * tanh(x / cap); returns x itself for None."""
  return x if cap is None else cap * jnp.tanh(x / cap)


class Piece(NamedTuple):
  """A piece of the vocabulary and its logits.

  Attributes:
    start: int [], the piece's first column in every block.
    weights: [d, S, C], columns of the unembedding.
    logits: [B, K, T, S, C]; -inf in columns that an earlier piece had.
    ids: int [S, C], the columns; -1 where an earlier piece had them.
    overlaps: whether an earlier piece had some columns; their dlogits are 0.
  """

  start: Array
  weights: Array
  logits: Array
  ids: Array
  overlaps: bool


def piece_at(plan: Plan, hidden: Array, unembedding: Array, i: Array) -> Piece:
  """Computes the i-th piece of the logits of states [B, K, T, d]."""
  start = jnp.minimum(i * plan.columns, plan.block - plan.columns)
  weights = jax.lax.dynamic_slice_in_dim(
    blocks_of(plan, unembedding), start, plan.columns, axis=2
  )
  logits = jnp.einsum(
    "bktd,dsc->bktsc",
    hidden,
    weights,
    preferred_element_type=jnp.promote_types(hidden.dtype, jnp.float32),
  )
  logits = soft_cap(logits, plan.softcap)
  column = (start + jnp.arange(plan.columns))[None]
  ids = plan.block * jnp.arange(plan.blocks)[:, None] + column
  overlaps = plan.block % plan.columns != 0
  if overlaps:
    fresh = column >= i * plan.columns
    logits = jnp.where(fresh[None, None, None], logits, -jnp.inf)
    ids = jnp.where(fresh, ids, -1)
  return Piece(start, weights, logits, ids, overlaps)


def _chosen(piece: Piece, targets: Array) -> Array:
  """Bool [B, K, T, S, C], True at the targets."""
  return targets[..., None, None] == piece.ids[None, None, None]


def blocks_of(plan: Plan, unembedding: Array) -> Array:
  """Views [d, V] as [d, S, V / S]; inside loops, to spare them a copy."""
  return unembedding.reshape(-1, plan.blocks, plan.block)


def over(plan: Plan, reduce: Callable[..., Array], x: Array) -> Array:
  """Reduces [B, K, T, S, C] over a piece to [B, K, T, S or 1]."""
  if plan.apart:
    return reduce(x, axis=-1)
  return reduce(x, axis=(-2, -1))[..., None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def stats(
  plan: Plan, hidden: Array, unembedding: Array, targets: Array
) -> tuple[Array, Array | None]:
  """Computes log-probs of the targets and, if the plan says so, entropies.

  Args:
    plan: from `plan`.
    hidden: [B, K, T, d].
    unembedding: [d, V].
    targets: int [B, K, T].

  Returns:
    Log-probs and entropies, [B, K, T] each, in float32 or wider, both
    differentiable; nats. None for entropies that the plan leaves out.
  """
  return _forward(plan, hidden, unembedding, targets)[0]


def _forward(
  plan: Plan, hidden: Array, unembedding: Array, targets: Array
) -> Any:
  dtype = jnp.promote_types(hidden.dtype, jnp.float32)

  def step(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
    top, mass, picked, weighted = carry
    piece = piece_at(plan, hidden, unembedding, i)
    logits = piece.logits
    new = jnp.maximum(top, over(plan, jnp.max, logits))
    shrink = jnp.exp(top - new)
    below = logits - new[..., None]
    likely = jnp.exp(below)
    if plan.entropy:
      lower = jnp.where(mass > 0, top - new, 0)
      terms = likely * jnp.where(likely > 0, below, 0)
      weighted = shrink * (weighted + mass * lower)
      weighted = weighted + over(plan, jnp.sum, terms)
    mass = mass * shrink + over(plan, jnp.sum, likely)
    chosen = jnp.where(_chosen(piece, targets), logits, 0)
    picked = picked + over(plan, jnp.sum, chosen)
    return new, mass, picked, weighted

  parts = plan.blocks if plan.apart else 1
  zeros = jnp.zeros((*targets.shape, parts), dtype)
  start = jnp.full_like(zeros, -jnp.inf), zeros, zeros, zeros
  top, mass, picked, weighted = jax.lax.fori_loop(0, plan.pieces, step, start)
  highest = top.max(axis=-1)
  lower = top - highest[..., None]
  share = jnp.exp(lower)
  total = (mass * share).sum(axis=-1)
  log_total = jnp.log(total)
  entropies = None
  if plan.entropy:
    summed = share * (weighted + mass * lower)
    entropies = log_total - summed.sum(axis=-1) / total
  # In this order, the rounding error does not grow with the logits.
  out = picked.sum(axis=-1) - highest - log_total, entropies
  lse = highest + log_total
  return out, (hidden, unembedding, targets, lse, entropies)


def _backward(plan: Plan, kept: Any, cotangents: Any) -> Any:
  hidden, unembedding, targets, lse, entropies = kept
  g, g_entropy = cotangents

  def slopes(i: Array, piece: Piece) -> Array:
    logp = piece.logits - lse[..., None, None]
    p = jnp.exp(logp)
    out = g[..., None, None] * (_chosen(piece, targets) - p)
    if plan.entropy:
      surprise = jnp.where(p > 0, logp, 0) + entropies[..., None, None]
      out = out - g_entropy[..., None, None] * p * surprise
    return out

  return *pull_back(plan, hidden, unembedding, slopes), None


def pull_back(
  plan: Plan,
  hidden: Array,
  unembedding: Array,
  slopes: Callable[[Array, Piece], Array],
) -> tuple[Array, Array]:
  """Carries gradients of logits back, a piece at a time.

  Args:
    plan: from `plan`.
    hidden: [B, K, T, d].
    unembedding: [d, V].
    slopes: (i, the i-th piece) -> gradient of its capped logits,
      [B, K, T, S, C]; 0 where the piece's `ids` are -1.

  Returns:
    Gradients like `hidden` and `unembedding`.
  """
  dtype = jnp.promote_types(hidden.dtype, jnp.float32)
  to_hidden = "bktsc,dsc->bktsd" if plan.apart else "bktsc,dsc->bktd"

  def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
    d_hidden, d_unembedding = carry
    piece = piece_at(plan, hidden, unembedding, i)
    d_logits = slopes(i, piece)
    if plan.softcap is not None:
      # Not from -inf, which would be NaN in the gradient of this gradient.
      finite = jnp.where(piece.logits > -jnp.inf, piece.logits, 0)
      d_logits = d_logits * (1 - jnp.square(finite / plan.softcap))
    # Products take operands of one type; they are summed in float32.
    d_logits = d_logits.astype(hidden.dtype)
    d_hidden = d_hidden + jnp.einsum(
      to_hidden, d_logits, piece.weights, preferred_element_type=dtype
    )
    d_piece = jnp.einsum(
      "bktsc,bktd->dsc", d_logits, hidden, preferred_element_type=dtype
    ).astype(unembedding.dtype)
    d_blocks = blocks_of(plan, d_unembedding)
    if piece.overlaps:
      d_piece = d_piece + jax.lax.dynamic_slice_in_dim(
        d_blocks, piece.start, plan.columns, axis=2
      )
    d_blocks = jax.lax.dynamic_update_slice_in_dim(
      d_blocks, d_piece, piece.start, axis=2
    )
    return d_hidden, d_blocks.reshape(unembedding.shape)

  parts = (plan.blocks,) if plan.apart else ()
  shape = (*hidden.shape[:-1], *parts, hidden.shape[-1])
  start = jnp.zeros(shape, dtype), jnp.zeros_like(unembedding)
  d_hidden, d_unembedding = jax.lax.fori_loop(0, plan.pieces, step, start)
  if plan.apart:
    d_hidden = d_hidden.sum(axis=-2)
  return d_hidden.astype(hidden.dtype), d_unembedding


stats.defvjp(_forward, _backward)
