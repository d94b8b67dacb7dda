"""Blockwise attention: exact, in memory linear in length.

Scores exist for one block of queries and one of keys at a time. The forward
pass keeps a running maximum and sum for each query (arXiv:1805.02867,
arXiv:2112.05682); the backward pass computes each block again from the
log-sum-exp (arXiv:2205.14135). The log-sum-exp is a result with a gradient of
its own: d lse / d scores are the probabilities, so its gradient is taken from
the one number a query that the backward pass subtracts anyway.

The blocks are one scan over pairs (block of queries, block of keys). Pairs
that causality rules out are not in the list; pairs that a window or different
sequences rule out for the whole batch are skipped when the scan gets there.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from offalign.distributed import constraints, sharding
from offalign.models.layers import Attended, wider
from offalign.models.logps import soft_cap
from offalign.models.sight import Sight
from offalign.types import Array

LARGEST = 512
"""Most tokens in a block."""
_LEAST = 128  # tokens; thinner products leave matrix units idle
_BUDGET = 64 * 2**20  # bytes of one block's scores that a device holds
_TILE = 8  # tokens; blocks are multiples of it
_MASKED = -1e30  # the score of a key that is not seen
_FLOOR = -5e29  # below any true score, and far above `_MASKED`


class Cut(NamedTuple):
  """How a length is cut: `blocks` of `size`, the last one padded."""

  blocks: int
  size: int

  @classmethod
  def of(cls, length: int, largest: int) -> "Cut":
    """Cuts a length into the fewest blocks, all of about the same size."""
    blocks = max(math.ceil(length / largest), 1)
    size = math.ceil(length / blocks / _TILE) * _TILE
    return cls(math.ceil(length / size), size)

  @property
  def padded(self) -> int:
    """The length with its padding."""
    return self.blocks * self.size


@dataclasses.dataclass(frozen=True)
class Plan:
  """What of an attention is known before its numbers are.

  Attributes:
    queries: how T is cut.
    keys: how S is cut.
    length: S.
    scale: what scores are multiplied by.
    cap: the bound on scores, or None.
    causal: see `Sight`.
    skips: whether pairs of blocks may turn out to be ruled out.
    shares: parts of the batch on different devices, of which each adds up its
      own gradient of `by_distance`.
  """

  queries: Cut
  keys: Cut
  length: int
  scale: float
  cap: float | None
  causal: bool
  skips: bool
  shares: int = 1

  @property
  def pairs(self) -> tuple[np.ndarray, np.ndarray]:
    """The blocks of queries and of keys of each pair, int32 [N] each."""
    i, j = np.indices((self.queries.blocks, self.keys.blocks))
    first, last = j * self.keys.size, (i + 1) * self.queries.size - 1
    kept = first <= last if self.causal else np.ones_like(i, bool)
    return i[kept].astype(np.int32), j[kept].astype(np.int32)


def attend(
  q: Array,
  k: Array,
  v: Array,
  sight: Sight,
  *,
  by_distance: Array | None = None,
  scale: float | None = None,
  cap: float | None = None,
  largest: int | None = None,
) -> Attended:
  """Softmax attention; scores, softmax and sums in float32 or wider.

  Args:
    q: [B, T, H, D].
    k: [B, S, G, D]; see `layers.attend`.
    v: [B, S, G, D].
    sight: who sees whom. A query without any key gets zeros, and -1e30 for
      its log-sum-exp.
    by_distance: [H, T + S - 1] added to the scores: for the distances
      (index of the key - index of the query) 1 - T, ..., S - 1.
    scale: what the scores are multiplied by before that; 1/sqrt(D) by
      default.
    cap: the bound on the scores, see `layers.attend`.
    largest: most tokens in a block; by default as many as fit a budget.
  """
  b, t, h, d = q.shape
  s, g = k.shape[1:3]
  largest = _largest(b * h) if largest is None else largest
  plan = Plan(
    queries=Cut.of(t, largest),
    keys=Cut.of(s, largest),
    length=s,
    scale=d**-0.5 if scale is None else scale,
    cap=cap,
    causal=sight.causal,
    skips=sight.window is not None or sight.queries is not None,
    shares=_shares(b),
  )
  if by_distance is not None:
    # Entry 0 becomes the distance 1 - T of the padded T.
    room = (plan.queries.padded - t, plan.keys.padded - s)
    by_distance = jnp.pad(by_distance, ((0, 0), room))
  heads = q.reshape(b, t, g, h // g, d)
  mixed, mass = _attend(plan, heads, k, v, by_distance, _facts(plan, sight))
  return Attended(mixed.reshape(b, t, h, d), mass.reshape(b, t, h))


def _largest(rows: int) -> int:
  """Tokens in a block, of whose scores a device holds B * H in float32."""
  mesh = constraints.mesh()
  rows = math.ceil(rows / (1 if mesh is None else mesh.size))
  size = LARGEST
  while size > _LEAST and 4 * rows * size * size > _BUDGET:
    size //= 2
  return size


def _shares(rows: int) -> int:
  """Parts of a batch that lie on different devices."""
  mesh = constraints.mesh()
  parts = 1 if mesh is None else sharding.batch_pieces(mesh)
  return parts if rows % parts == 0 else 1


class _Facts(NamedTuple):
  """A `Sight` in blocks: int [blocks, B or 1, size] each, or None."""

  queries: Array | None
  keys: Array | None
  query_places: Array | None
  key_places: Array | None
  window: Array | None


def _facts(plan: Plan, sight: Sight) -> _Facts:
  def cut(x: Array | None, by: Cut, fill: int) -> Array | None:
    if x is None:
      return None
    x = x.astype(jnp.int32)
    room = ((0, 0), (0, by.padded - x.shape[1]))
    x = jnp.pad(x, room, constant_values=fill)
    return x.reshape(-1, by.blocks, by.size).swapaxes(0, 1)

  keys = sight.keys
  if sight.queries is None and keys is not None:
    keys = keys.astype(bool)  # real or not
  padding = -1 if sight.queries is not None else 0
  return _Facts(
    cut(sight.queries, plan.queries, -2),
    cut(keys, plan.keys, padding),
    cut(sight.query_places, plan.queries, 0),
    cut(sight.key_places, plan.keys, 0),
    sight.window,
  )


def _seen(plan: Plan, facts: _Facts, i: Array, j: Array) -> Array | None:
  """The mask of a pair of blocks, [B or 1, 1, 1, size, size]; None for all."""

  def of_queries(x: Array | None) -> Array:
    assert x is not None
    return x[i][:, None, None, :, None]

  def of_keys(x: Array | None) -> Array:
    assert x is not None
    return x[j][:, None, None, None, :]

  tests = []
  if facts.queries is not None:
    tests.append(of_queries(facts.queries) == of_keys(facts.keys))
  elif facts.keys is not None:
    tests.append(of_keys(facts.keys) > 0)
  index = _places(plan.keys, j)[None, None, None, None]
  if plan.causal:
    own = _places(plan.queries, i)[None, None, None, :, None]
    tests.append(index <= own)
  elif facts.keys is None and plan.keys.padded > plan.length:
    tests.append(index < plan.length)
  if facts.window is not None:
    distance = of_queries(facts.query_places) - of_keys(facts.key_places)
    tests.append(distance < facts.window)
  return functools.reduce(jnp.logical_and, tests) if tests else None


def _places(cut: Cut, block: Array) -> Array:
  """The indices of a block, int32 [size]."""
  return jnp.arange(cut.size, dtype=jnp.int32) + block * cut.size


def _needed(plan: Plan, facts: _Facts) -> Array | None:
  """Whether each pair of blocks has to be computed, bool [N]; None for all."""
  if not plan.skips:
    return None
  i, j = plan.pairs
  needed = jnp.ones(len(i), bool)

  def ends(x: Array | None, where: np.ndarray) -> tuple[Array, Array]:
    assert x is not None
    return x.min(axis=2)[where], x.max(axis=2)[where]  # [N, B]

  if facts.queries is not None:
    (low, high), (first, last) = ends(facts.queries, i), ends(facts.keys, j)
    meet = jnp.logical_and(first <= high, low <= last)
    needed = jnp.logical_and(needed, meet.any(axis=1))
  if facts.window is not None:
    low, _ = ends(facts.query_places, i)
    _, last = ends(facts.key_places, j)
    needed = jnp.logical_and(needed, (low - last < facts.window).any(axis=1))
  return needed


def _skew(piece: Array, rows: int) -> Array:
  """Spreads distances over a block: [H, T + S - 1] -> [H, T, S].

  Row t, column s is entry s - t + T - 1. Laid out one after the other, copies
  of a vector that are one longer than a row move by one from row to row.
  """
  h, n = piece.shape
  middle = rows - 1
  turned = jnp.concatenate(
    [piece[:, middle:], jnp.zeros((h, 1), piece.dtype), piece[:, :middle]], 1
  )
  flat = jnp.broadcast_to(turned[:, None], (h, rows, n + 1)).reshape(h, -1)
  return flat[:, : rows * n].reshape(h, rows, n)[:, :, : n - middle]


def _start(plan: Plan, i: Array, j: Array) -> Array:
  """Where the distances of a pair of blocks begin in `by_distance`."""
  t, s = plan.queries, plan.keys
  return t.padded - (i + 1) * t.size + j * s.size


def _window(plan: Plan) -> int:
  """Distances of a pair of blocks."""
  return plan.queries.size + plan.keys.size - 1


class _Scores(NamedTuple):
  """Scores of a pair of blocks, [B, G, R, size, size].

  Attributes:
    final: scores with bias and mask.
    slope: their derivative in the scores before the cap; None for 1.
  """

  final: Array
  slope: Array | None


def _scores(
  plan: Plan,
  q: Array,
  k: Array,
  by_distance: Array | None,
  facts: _Facts,
  i: Array,
  j: Array,
) -> _Scores:
  """Scores of queries [B, G, R, size, D] and keys [B, G, size, D]."""
  dtype = wider(q.dtype)
  scores = jnp.einsum("bgrtd,bgsd->bgrts", q, k, preferred_element_type=dtype)
  scores = scores * plan.scale
  slope = None
  if plan.cap is not None:
    scores = soft_cap(scores, plan.cap)
    slope = 1 - jnp.square(scores / plan.cap)
  if by_distance is not None:
    piece = jax.lax.dynamic_slice_in_dim(
      by_distance, _start(plan, i, j), _window(plan), axis=1
    )
    bias = _skew(piece, plan.queries.size).astype(dtype)
    scores = scores + bias.reshape(1, *scores.shape[1:])
  seen = _seen(plan, facts, i, j)
  if seen is not None:
    scores = jnp.where(seen, scores, _MASKED)
  return _Scores(scores, slope)


def _cut(x: Array, by: Cut) -> Array:
  """Cuts into blocks: [B, S, G, ...] -> [blocks, B, G, ..., size, D].

  For queries [B, S, G, R, D], and for keys and values [B, S, G, D].
  """
  room = [(0, 0)] * x.ndim
  room[1] = (0, by.padded - x.shape[1])
  x = jnp.pad(x, room)
  x = x.reshape(x.shape[0], by.blocks, by.size, *x.shape[2:])
  return jnp.moveaxis(jnp.moveaxis(x, 1, 0), 2, -2)


def _join(x: Array, length: int) -> Array:
  """Undoes `_cut`: [blocks, B, G, ..., size, D] -> [B, S, G, ..., D]."""
  x = jnp.moveaxis(jnp.moveaxis(x, -2, 2), 0, 1)
  return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def _scan(
  plan: Plan, facts: _Facts, carry: Any, pick: Any, work: Any, put: Any
) -> Any:
  """Runs over the pairs of blocks.

  Args:
    plan: the plan.
    facts: what rules pairs out.
    carry: the sums.
    pick: (sums, i, j) -> the parts of the sums that the pair changes.
    work: (parts, i, j) -> the new parts. Skipped for pairs without effect;
      no more than the parts goes through the branch, since XLA copies it.
    put: (sums, parts, i, j) -> the new sums.
  """
  i, j = plan.pairs
  needed = _needed(plan, facts)

  def step(carry: Any, pair: Any) -> tuple[Any, None]:
    i, j, need = pair
    parts = pick(carry, i, j)
    if need is None:
      parts = work(parts, i, j)
    else:
      parts = jax.lax.cond(
        need, lambda parts: work(parts, i, j), lambda parts: parts, parts
      )
    return put(carry, parts, i, j), None

  return jax.lax.scan(step, carry, (jnp.asarray(i), jnp.asarray(j), needed))[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
  plan: Plan,
  q: Array,
  k: Array,
  v: Array,
  by_distance: Array | None,
  facts: _Facts,
) -> tuple[Array, Array]:
  """[B, T, G, R, D], [B, S, G, D] -> mixed [B, T, G, R, D], [B, T, G, R]."""
  t, dtype = q.shape[1], wider(q.dtype)
  queries, keys, values = (
    _cut(x, by) for x, by in ((q, plan.queries), (k, plan.keys), (v, plan.keys))
  )

  def work(parts: Any, i: Array, j: Array) -> Any:
    mixed, top, total = parts
    scores = _scores(plan, queries[i], keys[j], by_distance, facts, i, j).final
    new = jnp.maximum(top, scores.max(axis=-1))
    weights = jnp.exp(scores - new[..., None])
    old = jnp.exp(top - new)
    more = jnp.einsum(
      "bgrts,bgsd->bgrtd",
      weights.astype(v.dtype),
      values[j],
      preferred_element_type=dtype,
    )
    total = old * total + weights.sum(axis=-1)
    return old[..., None] * mixed + more, new, total

  def pick(carry: Any, i: Array, j: Array) -> Any:
    return jax.tree.map(lambda x: x[i], carry)

  def put(carry: Any, parts: Any, i: Array, j: Array) -> Any:
    return jax.tree.map(lambda x, part: x.at[i].set(part), carry, parts)

  empty = jnp.zeros_like(queries[..., 0], dtype)
  carry = jnp.zeros_like(queries, dtype), empty + _FLOOR, empty
  mixed, top, total = _scan(plan, facts, carry, pick, work, put)
  some = total > 0
  total = jnp.where(some, total, 1)
  mass = jnp.where(some, top + jnp.log(total), _MASKED)
  mixed = (mixed / total[..., None]).astype(q.dtype)
  return _join(mixed, t), _join(mass[..., None], t)[..., 0]


def _forward(plan: Plan, *args: Any) -> tuple[Any, Any]:
  mixed, mass = _attend(plan, *args)
  return (mixed, mass), (args, mixed, mass)


def _backward(plan: Plan, kept: Any, given: tuple[Array, Array]) -> Any:
  (q, k, v, by_distance, facts), mixed, mass = kept
  dtype, (d_mixed, d_mass) = wider(q.dtype), given
  drop = jnp.sum(d_mixed.astype(dtype) * mixed.astype(dtype), -1) - d_mass
  # A query without any key: exp(_MASKED - 0) is 0.
  mass = jnp.where(mass > _FLOOR, mass, 0)
  queries, keys, values = (
    _cut(x, by) for x, by in ((q, plan.queries), (k, plan.keys), (v, plan.keys))
  )
  d_mixed = _cut(d_mixed, plan.queries)
  drop, mass = (_cut(x[..., None], plan.queries)[..., 0] for x in (drop, mass))
  product = functools.partial(jnp.einsum, preferred_element_type=dtype)

  def work(parts: Any, i: Array, j: Array) -> Any:
    d_query, d_key, d_value, d_bias = parts
    scores = _scores(plan, queries[i], keys[j], by_distance, facts, i, j)
    weights = jnp.exp(scores.final - mass[i][..., None])
    d_value += product("bgrts,bgrtd->bgsd", weights.astype(v.dtype), d_mixed[i])
    d_scores = product("bgrtd,bgsd->bgrts", d_mixed[i], values[j])
    d_scores = weights * (d_scores - drop[i][..., None])
    if d_bias is not None:
      # Summed over devices here, they would be sent for every pair.
      apart = d_scores.reshape(plan.shares, -1, *d_scores.shape[1:])
      flat = apart.sum(axis=1).reshape(*d_bias.shape[:2], *d_scores.shape[-2:])
      spread = jax.vmap(functools.partial(_skew, rows=plan.queries.size))
      d_bias += jax.linear_transpose(spread, d_bias)(flat)[0]
    if scores.slope is not None:
      d_scores = d_scores * scores.slope
    d_scores = (plan.scale * d_scores).astype(q.dtype)
    d_query += product("bgrts,bgsd->bgrtd", d_scores, keys[j])
    d_key += product("bgrts,bgrtd->bgsd", d_scores, queries[i])
    return d_query, d_key, d_value, d_bias

  def pick(carry: Any, i: Array, j: Array) -> Any:
    d_query, d_key, d_value, d_bias = carry
    if d_bias is not None:
      d_bias = jax.lax.dynamic_slice_in_dim(
        d_bias, _start(plan, i, j), _window(plan), axis=2
      )
    return d_query[i], d_key[j], d_value[j], d_bias

  def put(carry: Any, parts: Any, i: Array, j: Array) -> Any:
    d_query, d_key, d_value, d_bias = carry
    if d_bias is not None:
      d_bias = jax.lax.dynamic_update_slice_in_dim(
        d_bias, parts[3], _start(plan, i, j), axis=2
      )
    return (
      d_query.at[i].set(parts[0]),
      d_key.at[j].set(parts[1]),
      d_value.at[j].set(parts[2]),
      d_bias,
    )

  empty = None
  if by_distance is not None:
    empty = jnp.zeros((plan.shares, *by_distance.shape), dtype)
  sums = (jnp.zeros_like(x, dtype) for x in (queries, keys, values))
  carry = (*sums, empty)
  *sums, d_bias = _scan(plan, facts, carry, pick, work, put)
  lengths = q.shape[1], k.shape[1], v.shape[1]
  d_q, d_k, d_v = (
    _join(x, length).astype(q.dtype)
    for x, length in zip(sums, lengths, strict=True)
  )
  if by_distance is not None:
    d_bias = d_bias.sum(axis=0).astype(by_distance.dtype)
  return d_q, d_k, d_v, d_bias, None


_attend.defvjp(_forward, _backward)
