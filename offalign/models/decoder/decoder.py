"""A decoder-only transformer; `DecoderConfig` has the switches of families.

A prompt and its K completions are one sequence, [prompt | y_1 | ... | y_K],
in which each completion sees the prompt and its own past, so the prompt is
processed once. Who sees whom is decided in `offalign.models.decoder.attention`.

Above 300 lines, since all methods of `Model` run the same layers.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offalign.distributed import constraints
from offalign.distributed.sharding import Split
from offalign.errors import UserError
from offalign.models import apart, kernels, layers, positions, tensor_parallel
from offalign.models import packed as packing
from offalign.models.attending import Attend, AttentionPath
from offalign.models.base import Counted, Hidden, Remat, Routed
from offalign.models.decoder import attention as look
from offalign.models.decoder.block import Block, norm
from offalign.models.decoder.config import DecoderConfig, Mixture
from offalign.models.sight import Sight, real, same
from offalign.types import Array, Packed

_FAR = np.iinfo(np.int32).max  # a window without a limit


class Layer(NamedTuple):
  """What differs from layer to layer, besides the weights.

  Attributes:
    window: int32 [], see `DecoderConfig.windows`; None if no layer has one.
    rope: int32 [], index of the layer's rotation; None if there is at most
      one.
  """

  window: Array | None
  rope: Array | None


class Cache(NamedTuple):
  """The decoding cache: keys and values of the prompt and the new tokens.

  Attributes:
    past: keys and values, each [L, B, P + max_new, G, D]; or `Apart`, each
      layer [B, G, P + max_new, D].
    visible: bool [B, P + max_new], True on the tokens so far.
    slot: int [B], where the next token goes.
    position: int [B], the position of the next token.
  """

  past: tuple[Array, Array]
  visible: Array
  slot: Array
  position: Array


class Decoder(nnx.Module):
  """A decoder; its methods are those of `Model` without the params."""

  def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
    self.config = config
    self.softcap = config.logit_cap
    self.remat: Remat = "none"
    self.attention_path: AttentionPath = "auto"
    v, d = config.vocab_size, config.width
    self.embedding = layers.Embedding(v, d, d**-0.5, rngs=rngs)
    if config.max_positions is not None:
      self.position_embedding = layers.Embedding(
        config.max_positions, d, d**-0.5, rngs=rngs
      )
    # Layers of one kind are a stack; a decoder of two kinds has two.
    n = sum(config.sparse)
    self.layers = layers.stack(
      lambda rngs: Block(config, sparse=n > 0, rngs=rngs),
      n or config.layers,
      rngs,
    )
    if 0 < n < config.layers:
      self.layers_dense = layers.stack(
        lambda rngs: Block(config, rngs=rngs), config.layers - n, rngs
      )
    self.norm = norm(config, d)
    if not config.tied:
      self.head = layers.Linear(d, v, d**-0.5, rngs=rngs)

  @property
  def experts(self) -> Mixture | None:
    """See `DecoderConfig`."""
    return self.config.experts

  @property
  def splits(self) -> Mapping[str, Split]:
    """See `Model`."""
    config = self.config
    return tensor_parallel.transformer(
      heads=config.heads,
      groups=config.groups,
      head_size=config.head_size,
      inner=config.inner,
      vocab_size=config.vocab_size,
      expert=None if config.experts is None else config.experts.width,
    )

  def hidden(
    self,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    """See `offalign.models.base.HiddenFn`."""
    rows = prompts, prompt_mask, completions, completion_mask
    return self.hidden_routed(*rows, None)[0]

  def hidden_routed(
    self,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
    counted: Counted | None,
  ) -> tuple[Hidden, Routed]:
    """See `offalign.models.base.Routing`; `Routed` is void for None."""
    del completion_mask  # padding is on the right, where no real token looks
    b, k, t = completions.shape
    p = prompts.shape[1]
    self._check_length(p + t)
    shared = kernels.Shared(b, p, k, t, self.embedding.table[...].dtype)
    in_one_call = self._attend.in_one_call(shared, self._heads)
    if in_one_call and self._windows(p + t) != {None: 1.0}:
      places = positions.aligned(prompt_mask)
      take = functools.partial(jnp.take_along_axis, indices=places, axis=1)
      prompts, prompt_mask = take(prompts), take(prompt_mask)
      if counted is not None:
        counted = counted._replace(prompts=take(counted.prompts))
    offsets = jnp.tile(jnp.arange(t), (b, k))
    where = jnp.concatenate(
      [
        positions.from_mask(prompt_mask),
        positions.lengths(prompt_mask)[:, None] + offsets,
      ],
      axis=1,
    )
    if in_one_call:
      attention = look.in_one_call(
        self._attend,
        prompt_mask,
        k,
        t,
        prefix_lm=self.config.prefix_lm,
        windows=self._windows(p + t),
      )
    else:
      attention = look.shared_prompt(
        self._attend,
        prompt_mask,
        where,
        k,
        t,
        prefix_lm=self.config.prefix_lm,
      )
    tokens = jnp.concatenate([prompts, completions.reshape(b, k * t)], axis=1)
    weights = None
    if counted is not None:
      flat = counted.completions.reshape(b, k * t)
      weights = jnp.concatenate([counted.prompts, flat], axis=1)
    states, _, routed = self._run(tokens, where, attention, None, weights)
    prompt = positions.last_real(states[:, :p], prompt_mask)
    first = jnp.broadcast_to(prompt[:, None, None], (b, k, 1, prompt.shape[-1]))
    later = states[:, p:].reshape(b, k, t, -1)[:, :, :-1]
    hidden = Hidden(prompt, jnp.concatenate([first, later], axis=2))
    return hidden, routed

  def prompt_state(self, prompts: Array, prompt_mask: Array) -> Array:
    """State after each prompt: [B, P], [B, P] -> [B, d]."""
    self._check_length(prompts.shape[1])
    where, seen = positions.from_mask(prompt_mask), real(prompt_mask)
    states, _ = self._run_prompt(prompts, where, seen)
    return positions.last_real(states, prompt_mask)

  def hidden_packed(self, packed: Packed) -> Hidden:
    """See `Model`."""
    return self.hidden_packed_routed(packed, None)[0]

  def hidden_packed_routed(
    self, packed: Packed, counted: Counted | None
  ) -> tuple[Hidden, Routed]:
    """See `offalign.models.base.Routing`; `Routed` is void for None."""
    self._check_length(packed.longest)
    tokens, where = (
      jnp.concatenate([packing.rows(a), packing.rows(b)], axis=1)
      for a, b in (
        (packed.prompts, packed.completions),
        (packed.prompt_position, packed.position),
      )
    )
    attention = look.packed_rows(
      self._attend, packed, prefix_lm=self.config.prefix_lm
    )
    weights = None
    if counted is not None:
      weights = jnp.concatenate([packing.rows(x) for x in counted], axis=1)
    states, _, routed = self._run(tokens, where, attention, None, weights)
    before = packing.rows(packed.before)[..., None]
    later = jnp.take_along_axis(states, before, axis=1)
    prompts = packing.groups(states[:, : packed.prompts.shape[2]], packed)
    hidden = Hidden(
      packing.pick(packed, prompts, packed.prompt_end),
      packing.groups(later, packed),
    )
    return hidden, routed

  def prompt_state_packed(self, packed: Packed) -> Array:
    """See `Model`."""
    self._check_length(packed.longest)
    owner = packing.rows(packed.prompt_owner)
    states, _ = self._run_prompt(
      packing.rows(packed.prompts),
      packing.rows(packed.prompt_position),
      same(owner, owner),
    )
    states = packing.groups(states, packed)
    return packing.pick(packed, states, packed.prompt_end)

  def unembedding(self) -> Array:
    """The unembedding matrix, [d, V]."""
    if self.config.tied:
      return self.embedding.table[...].T
    return self.head.kernel[...]

  def prefill(
    self, prompts: Array, prompt_mask: Array, max_new: int
  ) -> tuple[Cache, Array]:
    """Runs the prompts; the cache has room for `max_new` tokens."""
    self._check_length(prompts.shape[1] + max_new)
    where, seen = positions.from_mask(prompt_mask), real(prompt_mask)
    states, past = self._run_prompt(prompts, where, seen)
    room = ((0, 0), (0, 0), (0, max_new), (0, 0), (0, 0))
    cache = Cache(
      past=jax.tree.map(lambda x: jnp.pad(x, room), past),
      visible=jnp.pad(prompt_mask, ((0, 0), (0, max_new))),
      slot=jnp.full(prompts.shape[0], prompts.shape[1]),
      position=positions.lengths(prompt_mask),
    )
    return cache, positions.last_real(states, prompt_mask)

  @property
  def in_pieces(self) -> bool:
    """Whether a prompt may run piece by piece: no token sees a later one."""
    return not self.config.prefix_lm

  def extend(
    self, cache: Cache, tokens: Array, mask: Array
  ) -> tuple[Cache, Array]:
    """Runs the next tokens of prompts, [B, C], padded on the right."""
    places = cache.slot[:, None] + jnp.arange(tokens.shape[1])[None]
    where = cache.position[:, None] + positions.from_mask(mask)
    attention = look.after_cache(self._attend, cache.visible, cache.slot, where)
    states, past, _ = self._run(tokens, where, attention, cache.past)
    row = jnp.arange(tokens.shape[0])[:, None]
    cache = Cache(
      past,
      cache.visible.at[row, places].set(mask),
      cache.slot + tokens.shape[1],
      cache.position + positions.lengths(mask),
    )
    return cache, positions.last_real(states, mask)

  @staticmethod
  def rows(cache: Cache) -> Cache:
    """See `Model`."""
    return cache._replace(past=apart.split(layers.by_head(cache.past)))

  def decode(self, cache: Cache, tokens: Array) -> tuple[Cache, Array]:
    """Decodes one token a row: [B] -> [B, d]; at most `max_new` times."""
    row = jnp.arange(tokens.shape[0])
    visible = cache.visible.at[row, cache.slot].set(True)
    where, slots = cache.position[:, None], positions.from_mask(visible)
    by_head = apart.any_apart(cache.past)
    attend = dataclasses.replace(self._attend, by_head=by_head)
    write = layers.write_by_head if by_head else layers.write

    def attention(
      window: Array | None, q: Array, k: Array, v: Array, past: Any
    ) -> Any:
      keys, values = write(past, (k, v), cache.slot)
      view = real(visible).near(where, slots, window)
      return attend(q, keys, values, view).mixed, (keys, values)

    states, past, _ = self._run(tokens[:, None], where, attention, cache.past)
    cache = Cache(past, visible, cache.slot + 1, cache.position + 1)
    return cache, states[:, 0]

  def _run(
    self,
    tokens: Array,
    where: Array,
    attention: look.Attention,
    cache: Any = None,
    counted: Array | None = None,
  ) -> tuple[Array, Any, Any]:
    """Runs every layer.

    Args:
      tokens: [B, S].
      where: [B, S], positions of the tokens.
      attention: from `offalign.models.decoder.attention`.
      cache: leaves [L, ...], or None.
      counted: [B, S] how much each token counts in what routers did.

    Returns:
      [B, S, d], the new caches [L, ...], and `Routed` where tokens are
      counted.
    """
    config = self.config
    x = constraints.spread(self.embedding(tokens))
    if config.embedding_scale:
      x = x * jnp.asarray(config.width**0.5, x.dtype)
    rotations = None
    if config.positions == "learned":
      x = x + self.position_embedding(where)
    else:
      rotations = positions.Rotation.each(
        where, _distinct(config), config.head_size
      )

    def step(block: Block, x: Array, inputs: tuple[Layer, Any]) -> Any:
      layer, cache = inputs
      rotation = rotations and rotations.pick(layer.rope)
      attend = functools.partial(attention, layer.window)
      x, cache, routed = block(x, rotation, attend, cache, counted)
      return x, (cache, routed)

    x, (cache, routed) = self._scan(step, x, (_per_layer(config), cache))
    if counted is not None:
      routed = jax.tree.map(lambda each: each.sum(axis=0), routed)
    return self.norm(x), cache, routed

  def _scan(self, step: Any, x: Array, inputs: Any) -> tuple[Array, Any]:
    """Runs the layers in order; layers of the same kind in one scan.

    Returns:
      [B, S, d], and (caches [L, ...], what routers did: leaves [n, ...] for n
      layers with experts).
    """
    if not hasattr(self, "layers_dense"):
      return layers.scan(self.layers, step, x, inputs, remat=self.remat)
    done, caches, routed = {True: 0, False: 0}, [], []
    first = 0
    for sparse, run in itertools.groupby(self.config.sparse):
      n = len(list(run))
      there = slice(first, first + n)
      x, (cache, each) = layers.scan(
        self.layers if sparse else self.layers_dense,
        step,
        x,
        apart.take(inputs, there),
        remat=self.remat,
        part=slice(done[sparse], done[sparse] + n),
      )
      caches.append(cache)
      routed += [each] if sparse else []
      done[sparse] += n
      first += n
    return x, tuple(
      apart.join(both, jnp.concatenate) for both in (caches, routed)
    )

  @property
  def _attend(self) -> Attend:
    """Attention with this model's scale and bound on scores."""
    config = self.config
    return Attend(self.attention_path, config.score_scale, config.score_cap)

  @property
  def _heads(self) -> kernels.Heads:
    config = self.config
    return kernels.Heads(config.heads, config.groups, config.head_size)

  def no_kernel(self, platform: str, mesh: Any) -> str | None:
    """See `Model`."""
    return kernels.refusal(self._heads, platform, mesh)

  def _windows(self, longest: int) -> dict[int | None, float]:
    """Windows -> the share of layers that have them; first None, if any do.

    Args:
      longest: a prompt and a completion together; a window that holds it is
        none.
    """
    windows = self.config.windows
    found = collections.Counter(
      None if w is None or w >= longest else w for w in windows
    )
    order = sorted(found, key=lambda w: (w is not None, w))
    return {window: found[window] / len(windows) for window in order}

  def _run_prompt(
    self, prompts: Array, where: Array, seen: Sight
  ) -> tuple[Array, Any]:
    """Runs prompts alone: their states [B, P, d], and keys and values.

    Args:
      prompts: [B, P].
      where: [B, P], positions of the tokens.
      seen: see `offalign.models.decoder.attention.prompt_view`.
    """
    view = look.prompt_view(seen, prefix_lm=self.config.prefix_lm)
    attention = look.of_prompts(self._attend, view, where)
    states, past, _ = self._run(prompts, where, attention)
    return states, past

  @property
  def max_positions(self) -> int | None:
    """The longest prompt and completion together; see `DecoderConfig`."""
    return self.config.max_positions

  def _check_length(self, length: int) -> None:
    limit = self.max_positions
    if limit is not None and length > limit:
      raise UserError(
        f"prompt and completion take {length} positions, padding included, "
        f"but the model has max_positions={limit}: shorten them, or give the "
        "model more"
      )


def _distinct(config: DecoderConfig) -> list[positions.Rope]:
  """The distinct ropes, in order."""
  return list(dict.fromkeys(config.ropes))


def _per_layer(config: DecoderConfig) -> Layer:
  """The window and rope of each layer, for `layers.scan`; leaves [L]."""
  window = rope = None
  if any(w is not None for w in config.windows):
    ends = [_FAR if w is None else w for w in config.windows]
    window = jnp.broadcast_to(jnp.asarray(ends, jnp.int32), config.layers)
  distinct = _distinct(config)
  if config.positions == "rope" and len(distinct) > 1:
    rope = jnp.asarray([distinct.index(r) for r in config.ropes], jnp.int32)
  return Layer(window, rope)
