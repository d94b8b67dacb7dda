"""Complete many prompts in slots: a row that ends leaves its slot to the next.

Completions differ in length, so a batch that waits for its longest is idle for
much of its time. Here a fixed number of slots is decoded, and as soon as a
completion ends, the next that waits takes its slot. A prompt runs once, however
many completions it has: each of them starts from a copy of its cache.

The loop is the host's. Of the device it needs three programs: prompts of a
bucket of lengths are run, rows enter slots, and all slots are decoded until one
is free. Each is compiled once for its shapes.

Weights that several devices share, and models whose cache has no rows to
exchange, sample in batches of one shape instead.

Above 300 lines, a third of them docstrings: the loop and the programs that it
calls are read together.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from offalign.data.text.ragged import Ragged
from offalign.generation import sampling
from offalign.generation.sampling import Choice, Rows, Samples, Weights
from offalign.models.base import Model
from offalign.types import Array, Params

_NARROWEST = 16  # tokens of the first bucket of prompts; each is twice the last
_ROOM = 32  # completions have room for a multiple of so many tokens
_PIECE = 512  # tokens of longer prompts that run at a time
_SHARE = 4  # slots for each prompt that is run at a time
_STEPS = 64  # tokens a slot before the host looks, where none ends earlier


class Completion(NamedTuple):
  """A sampled completion.

  Attributes:
    tokens: int32 [n], the one that ends it included.
    logps: float32, their summed log-probs; see `Samples`.
    token_logps: float32 [n], of each; see `Samples`.
  """

  tokens: np.ndarray
  logps: np.floating[Any]
  token_logps: np.ndarray


class _Waiting(NamedTuple):
  """Prompts that were run, and the completions of them that wait for slots.

  Attributes:
    cache: of the prompts, its leaves [m, ...].
    state: [m, d].
    places: completions, as (number, row of the cache), the next one last.
  """

  cache: Any
  state: Array
  places: list[tuple[int, int]]


def fits(model: Model, params: Params) -> bool:
  """Whether completions are sampled in slots, and not in batches.

  Args:
    model: the policy's model.
    params: its params.
  """
  devices: set[Any] = set()
  for leaf in jax.tree.leaves(params):
    devices |= leaf.devices() if isinstance(leaf, jax.Array) else set()
  return model.rows is not None and len(devices) <= 1


def complete(
  model: Model,
  params: Params,
  prompts: Ragged,
  which: np.ndarray,
  *,
  seeds: np.ndarray,
  slots: int,
  max_new_tokens: int,
  eos_id: Sequence[int],
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
  limits: np.ndarray | None = None,
  width: int | None = None,
  put: Callable[[Any], Any] = lambda rows: rows,
  get: Callable[[Any], Any] = jax.device_get,
  after: Callable[[], None] = lambda: None,
) -> list[Completion]:
  """Samples M completions of N prompts.

  Each is that which `sampling.sample` draws of its prompt and seed, up to
  rounding: the other completions and the order in which slots become free
  change nothing.

  Args:
    model: the policy's model.
    params: its params.
    prompts: tokens of N prompts, none empty.
    which: int [M], the prompt of each completion.
    seeds: int [M], of each completion.
    slots: completions that are decoded at a time; in batches, a multiple of
      what the devices need.
    max_new_tokens: tokens of a completion at most.
    eos_id: tokens that end a completion.
    temperature: see `sampling.sample`, like the next two.
    top_k: likewise.
    top_p: likewise.
    limits: int [M], tokens of each completion at most; None for
      `max_new_tokens`.
    width: tokens that all prompts are padded to, for callers whose later
      prompts should compile nothing; None for buckets of lengths.
    put: places a batch of rows on the devices that share the weights.
    get: fetches what these drew for a batch.
    after: called whenever the host looks at the slots, or after each batch.

  Returns:
    The completions, in the order of `which`.

  Raises:
    UserError: for an argument out of range, or one without effect.
  """
  ends = list(eos_id)
  drawing: dict[str, Any] = {
    "temperature": temperature,
    "top_k": top_k,
    "top_p": top_p,
  }
  sampling.check(model, max_new_tokens, ends, **drawing)
  if not len(which):
    return []
  if limits is None:
    limits = np.full(len(which), max_new_tokens)
  seeds, limits = seeds.astype(np.int32), limits.astype(np.int32)
  longest = int(prompts.lengths.max()) if width is None else width
  if not fits(model, params):
    made = _in_batches(
      functools.partial(
        sampling.sample,
        model,
        params,
        max_new_tokens=max_new_tokens,
        eos_id=ends,
        **drawing,
      ),
      (prompts, which, seeds, limits),
      slots,
      longest,
      put,
      get,
      after,
    )
    return list(made)
  most, room = _sizes(model, longest, max_new_tokens, fixed=width is not None)
  waiting = _run_prompts(
    model,
    params,
    prompts,
    which,
    slots,
    buckets=[most] if width is not None else _buckets(most),
  )
  return _decode(
    model,
    sampling.prepare(model, params),
    _empty(model, params, slots, most, room),
    waiting,
    (limits, seeds),
    jnp.asarray(ends, jnp.int32),
    sampling.choose(**drawing),
    min(_STEPS, room),
    after,
  )


def _in_batches(
  draw: Callable[..., Samples],
  asked: tuple[Ragged, np.ndarray, np.ndarray, np.ndarray],
  size: int,
  width: int,
  put: Callable[[Any], Any],
  get: Callable[[Any], Any],
  after: Callable[[], None],
) -> Iterator[Completion]:
  """Samples prompts of one width in batches of one size.

  Args:
    draw: `sampling.sample` with all but the rows.
    asked: prompts, which of them, seeds and limits.
    size: of a batch.
    width: tokens that prompts are padded to.
    put: places a batch on the devices.
    get: fetches what they drew.
    after: called after each batch.
  """
  prompts, which, seeds, limits = asked
  for begin in range(0, len(which), size):
    # The last batch is padded with its last row, so all have one shape.
    places = np.minimum(np.arange(begin, begin + size), len(which) - 1)
    tokens, mask = prompts.padded(which[places], width, 0)
    tokens, mask, own, most = put((tokens, mask, seeds[places], limits[places]))
    drawn = get(draw(tokens, mask, seeds=own, limits=most))
    for k in range(min(size, len(which) - begin)):
      yield Completion(
        drawn.tokens[k][drawn.mask[k]],
        drawn.logps[k],
        drawn.token_logps[k][drawn.mask[k]],
      )
    after()


def _sizes(
  model: Model, longest: int, new: int, *, fixed: bool
) -> tuple[int, int]:
  """Tokens that the longest prompt and completion are given room for.

  They are rounded up, so that few shapes are compiled, as far as the model
  has positions.
  """
  room = -(-new // _ROOM) * _ROOM
  width = longest if fixed else _NARROWEST
  while width < longest:
    width *= 2
  if model.max_positions is not None:
    width = min(width, max(longest, model.max_positions - new))
    room = min(room, max(new, model.max_positions - width))
  return width, room


def _buckets(most: int) -> list[int]:
  """Widths that prompts are padded to, up to the widest."""
  found = [_NARROWEST]
  while found[-1] < most:
    found.append(2 * found[-1])
  return [*found[:-1], most]


def _run_prompts(
  model: Model,
  params: Params,
  prompts: Ragged,
  which: np.ndarray,
  slots: int,
  buckets: list[int],
) -> Iterator[_Waiting]:
  """Runs prompts, the longest first, a few at a time."""
  places: dict[int, list[int]] = {}
  for i, prompt in enumerate(which.tolist()):
    places.setdefault(prompt, []).append(i)
  m = -(-slots // _SHARE)
  bucket = np.searchsorted(buckets, prompts.lengths)
  for level in reversed(range(len(buckets))):
    found = [prompt for prompt in places if bucket[prompt] == level]
    for begin in range(0, len(found), m):
      some = found[begin : begin + m]
      padded = np.array(some + some[-1:] * (m - len(some)))
      tokens, mask = prompts.padded(padded, buckets[level], 0)
      cache, state = _run_piecewise(model, params, tokens, mask)
      there = [(i, row) for row, p in enumerate(some) for i in places[p]]
      yield _Waiting(cache, state, there[::-1])


def _run_piecewise(
  model: Model, params: Params, tokens: np.ndarray, mask: np.ndarray
) -> tuple[Any, Array]:
  """Runs prompts, long ones in pieces, so that memory does not grow with them.

  See `_prefill`.
  """
  width = tokens.shape[1]
  if model.extend is None or width <= _PIECE:
    return _prefill(model, 0, params, tokens, mask)
  pieces = [
    (tokens[:, begin : begin + _PIECE], mask[:, begin : begin + _PIECE])
    for begin in range(0, int(mask.sum(axis=1).max()), _PIECE)
  ]
  cache, state = _begin(model, width - _PIECE, params, *pieces[0])
  for piece in pieces[1:]:
    cache, state = _extend(model, params, (cache, state), *piece)
  return _rows(model, cache), state


def _decode(
  model: Model,
  weights: Weights,
  rows: Rows,
  batches: Iterator[_Waiting],
  asked: tuple[np.ndarray, np.ndarray],
  ends: Array,
  choice: Choice,
  steps: int,
  after: Callable[[], None],
) -> list[Completion]:
  """Decodes until nothing waits and all slots are free.

  Args:
    model: the policy's model.
    weights: from `sampling.prepare`.
    rows: the slots, all of them free.
    batches: prompts that were run.
    asked: limits and seeds of the M completions.
    ends: tokens that end a completion.
    choice: how tokens are drawn.
    steps: tokens a slot before the host looks.
    after: called when it does.
  """
  limits, seeds = asked
  n = len(rows.step)
  holds = np.full(n, -1)  # the completion in each slot
  pieces: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in limits]
  logps = np.zeros(len(limits), np.float32)
  waiting: _Waiting | None = next(batches)
  while True:
    free = np.flatnonzero(holds < 0).tolist()
    while free and waiting is not None:
      taken = [waiting.places.pop() for _ in free[: len(waiting.places)]]
      slots, free = free[: len(taken)], free[len(taken) :]
      numbers, sources = np.array(taken).T
      holds[slots] = numbers
      entries = np.zeros((4, n), np.int32)
      entries[:, : len(slots)] = (
        slots,
        sources,
        limits[numbers],
        seeds[numbers],
      )
      fresh = waiting.cache, waiting.state
      rows = _enter(rows, fresh, entries, np.int32(len(slots)))
      if not waiting.places:
        waiting = next(batches, None)
    busy = int((holds >= 0).sum())
    if not busy:
      break
    ready = np.int32(n if waiting is None else n - busy + 1)
    rows, drawn = _advance(model, steps, weights, rows, ends, choice, ready)
    drawn, done = jax.device_get((drawn, rows.done))
    for slot in np.flatnonzero(holds >= 0):
      made = drawn.mask[slot]
      pieces[holds[slot]].append(
        (drawn.tokens[slot][made], drawn.token_logps[slot][made])
      )
    over = done & (holds >= 0)
    logps[holds[over]] = drawn.logps[over]
    holds[over] = -1
    after()
  joined = (map(np.concatenate, zip(*x, strict=True)) for x in pieces)
  return [
    Completion(tokens, total, each)
    for (tokens, each), total in zip(joined, logps, strict=True)
  ]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _prefill(
  model: Model, room: int, params: Params, tokens: Array, mask: Array
) -> tuple[Any, Array]:
  """Runs prompts: their cache, leaves [m, ...], and states [m, d]."""
  assert model.rows is not None
  cache, state = model.prefill(params, tokens, mask, room)
  return model.rows(cache), state


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(
  model: Model, room: int, params: Params, tokens: Array, mask: Array
) -> tuple[Any, Array]:
  """Runs the first piece of prompts; the cache is as `Model.prefill` has it."""
  return model.prefill(params, tokens, mask, room)


@functools.partial(jax.jit, static_argnums=(0,), donate_argnums=(2,))
def _extend(
  model: Model,
  params: Params,
  so_far: tuple[Any, Array],
  tokens: Array,
  mask: Array,
) -> tuple[Any, Array]:
  """Runs the next piece of prompts, of which some may have ended."""
  assert model.extend is not None
  cache, state = so_far
  cache, new = model.extend(params, cache, tokens, mask)
  return cache, jnp.where(mask.any(axis=1)[:, None], new, state)


@functools.partial(jax.jit, static_argnums=(0,))
def _rows(model: Model, cache: Any) -> Any:
  assert model.rows is not None
  return model.rows(cache)


def _empty(
  model: Model, params: Params, slots: int, width: int, room: int
) -> Rows:
  """Slots without a row."""
  tokens = jax.ShapeDtypeStruct((slots, width), np.int32)
  mask = jax.ShapeDtypeStruct((slots, width), bool)
  made = jax.eval_shape(
    functools.partial(_prefill, model, room), params, tokens, mask
  )
  cache, state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made)
  seeds = jnp.zeros(slots, jnp.int32)
  rows = sampling.without_tokens(cache, state, seeds, room=1)
  return rows._replace(done=jnp.ones(slots, bool))


@functools.partial(jax.jit, donate_argnums=(0,))
def _enter(
  rows: Rows, fresh: tuple[Any, Array], entries: Array, count: Array
) -> Rows:
  """Copies rows of prompts into slots.

  Args:
    rows: the slots.
    fresh: cache and states of prompts.
    entries: int32 [4, n]: slot, row of `fresh`, limit and seed of each.
    count: int [], how many entries there are.
  """

  def one(i: Array, rows: Rows) -> Rows:
    slot, source, limit, seed = entries[:, i]

    def put(old: Array, new: Array) -> Array:
      row = jax.lax.dynamic_index_in_dim(new, source, 0)
      # A narrower prompt leaves room that its mask does not show.
      padding = [(0, a - b) for a, b in zip(old.shape, row.shape, strict=True)]
      row = jnp.pad(row, [(0, 0), *padding[1:]])
      return jax.lax.dynamic_update_slice_in_dim(old, row, slot, 0)

    cache, state = jax.tree.map(put, (rows.cache, rows.state), fresh)
    return Rows(
      cache,
      state,
      step=rows.step.at[slot].set(0),
      done=rows.done.at[slot].set(False),
      limit=rows.limit.at[slot].set(limit),
      keys=rows.keys.at[slot].set(jax.random.key(seed)),
      logps=rows.logps.at[slot].set(0.0),
    )

  return jax.lax.fori_loop(0, count, one, rows)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3,))
def _advance(
  model: Model,
  steps: int,
  weights: Weights,
  rows: Rows,
  ends: Array,
  choice: Choice,
  ready: Array,
) -> tuple[Rows, Samples]:
  """See `sampling.advance`."""
  return sampling.advance(model, steps, weights, rows, ends, choice, ready)
