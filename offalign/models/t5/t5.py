"""T5, an encoder-decoder (arXiv:1910.10683, arXiv:2002.05202).

Relative position biases, RMSNorm, no biases elsewhere, no 1/sqrt(D) in
attention (the initialisation has it). What differs between v1.0 and v1.1 is
in `T5Config`.

The encoder runs once a prompt and the decoder once a completion: the K
completions of a prompt are one stream [B, K * T] that looks at one copy of
the encoder's states.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx

from offalign.distributed import constraints
from offalign.distributed.sharding import Split
from offalign.models import apart, layers, tensor_parallel
from offalign.models import packed as packing
from offalign.models.attending import Attend, AttentionPath, Bias
from offalign.models.base import Hidden
from offalign.models.sight import Sight, past, real, same
from offalign.models.t5.blocks import (
  T5DecoderBlock,
  T5EncoderBlock,
  Tower,
)
from offalign.models.t5.config import T5Config
from offalign.types import Array, Packed


class Cache(NamedTuple):
  """The decoding cache: keys and values, and the next token's place.

  Attributes:
    own: keys and values of the decoder, [L, B, 1 + max_new, H, D] each: the
      start token, then the new tokens; or `Apart`, each layer
      [B, H, 1 + max_new, D], like the next.
    memory: keys and values of the prompt, [L, B, P, H, D] each.
    prompt_mask: bool [B, P].
    slot: int [B], where the next token goes.
  """

  own: tuple[Array, Array]
  memory: tuple[Array, Array]
  prompt_mask: Array
  slot: Array


class T5(nnx.Module):
  """A T5; its methods are those of `Model` without the params."""

  encoder_parts = ("embedding", "encoder")

  def __init__(self, config: T5Config, *, rngs: nnx.Rngs):
    self.config = config
    v, d = config.vocab_size, config.width
    self.start = config.start
    self.attention_path: AttentionPath = "auto"
    # Scales the last states before the unembedding.
    self.scale = d**-0.5 if config.scaled else 1.0
    self.embedding = layers.Embedding(v, d, 1.0, rngs=rngs)
    self.encoder = Tower(
      T5EncoderBlock, config, config.layers, bidirectional=True, rngs=rngs
    )
    self.decoder = Tower(
      T5DecoderBlock, config, config.depth, bidirectional=False, rngs=rngs
    )
    self.tied = config.tied
    if not config.tied:
      self.head = layers.Linear(d, v, d**-0.5, rngs=rngs)

  @staticmethod
  def no_kernel(platform: str, mesh: Any) -> str:
    """See `Model`."""
    del platform, mesh
    return "splash attention adds no position bias to its scores, and T5 does"

  @property
  def splits(self) -> Mapping[str, Split]:
    """See `Model`."""
    config = self.config
    return tensor_parallel.transformer(
      heads=config.heads,
      groups=config.heads,
      head_size=config.head_dim,
      inner=config.inner,
      vocab_size=config.vocab_size,
    )

  def hidden(
    self,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    """See `offalign.models.base.HiddenFn`."""
    del completion_mask  # padding is on the right, where no real token looks
    b, n, t = completions.shape
    start = jnp.full((b, n, 1), self.start, completions.dtype)
    inputs = jnp.concatenate([start, completions[:, :, :-1]], axis=2)
    attend = self._attend
    bias = attend.bias(self.decoder.bias, jnp.arange(t), jnp.arange(t))
    seen = attend.ready(past(), t, t)

    def attention(q: Array, k: Array, v: Array, _: Any) -> Any:
      each = (b * n, t, *q.shape[2:])
      q, k, v = q.reshape(each), k.reshape(each), v.reshape(each)
      mixed = attend(q, k, v, seen, bias).mixed
      return mixed.reshape(b, n * t, *q.shape[2:]), None

    states = self._decode(
      inputs.reshape(b, n * t),
      attention,
      self._encode(prompts, real(prompt_mask)),
      real(prompt_mask),
    ).reshape(b, n, t, -1)
    return Hidden(states[:, 0, 0], states)

  def prompt_state(self, prompts: Array, prompt_mask: Array) -> Array:
    """State after each prompt: [B, P], [B, P] -> [B, d]."""
    start = jnp.full((prompts.shape[0], 1, 1), self.start, prompts.dtype)
    ones = jnp.ones_like(start, bool)
    return self.hidden(prompts, prompt_mask, start, ones).prompt

  def hidden_packed(self, packed: Packed) -> Hidden:
    """See `Model`.

    Within each sequence of a packed row, distances are those between its
    tokens, so the biases are the same as for rows of one sequence.
    """
    prompts, segments = (
      packing.rows(x) for x in (packed.prompt_owner, packed.segment)
    )
    c = segments.shape[1]
    first = packed.before < packed.prompts.shape[2]
    shifted = jnp.roll(packed.completions, 1, axis=2)
    start = jnp.full_like(shifted, self.start)
    inputs = packing.rows(jnp.where(first, start, shifted))
    attend = self._attend
    seen = attend.ready(same(segments, segments).before(), c, c)
    bias = attend.bias(self.decoder.bias, jnp.arange(c), jnp.arange(c))

    def attention(q: Array, k: Array, v: Array, _: Any) -> Any:
      return attend(q, k, v, seen, bias).mixed, None

    encoded = self._encode_packed(packed)
    own = same(packing.rows(packing.owners(packed)), prompts)
    states = self._decode(inputs, attention, encoded, own)
    states = packing.groups(states, packed)
    return Hidden(packing.pick(packed, states, packed.begin[:, 0]), states)

  def prompt_state_packed(self, packed: Packed) -> Array:
    """See `Model`."""
    encoded = self._encode_packed(packed)
    # One start token for each prompt; those of a group are one row, which
    # attends to all prompts of the group.
    g, e = packing.by_group(packed, packed.prompt_end).shape
    encoded = encoded.reshape(g, -1, encoded.shape[-1])
    numbers = jnp.broadcast_to(jnp.arange(1, e + 1)[None], (g, e))
    own = same(numbers, packed.prompt_owner.reshape(g, -1))

    def attention(q: Array, k: Array, v: Array, _: Any) -> Any:
      return v, None  # a start token sees itself alone

    start = jnp.full((g, e), self.start, packed.prompts.dtype)
    states = self._decode(start, attention, encoded, own)
    return packing.by_row(packed, states)

  def encoder_state(self, prompts: Array, prompt_mask: Array) -> Array:
    """See `Encoder`: the mean over a prompt, as in arXiv:2108.08877."""
    encoded = self._encode(prompts, real(prompt_mask))
    return _mean(encoded, prompt_mask[:, None])[:, 0]

  def encoder_state_packed(self, packed: Packed) -> Array:
    """See `Encoder`."""
    encoded = self._encode_packed(packed)
    g, e = packing.by_group(packed, packed.prompt_end).shape
    numbers = jnp.arange(1, e + 1)[None, :, None]
    own = packed.prompt_owner.reshape(g, 1, -1) == numbers
    encoded = encoded.reshape(g, -1, encoded.shape[-1])
    return packing.by_row(packed, _mean(encoded, own))

  def unembedding(self) -> Array:
    """The unembedding matrix, [d, V]."""
    if self.tied:
      return self.embedding.table[...].T
    return self.head.kernel[...]

  def prefill(
    self, prompts: Array, prompt_mask: Array, max_new: int
  ) -> tuple[Cache, Array]:
    """Runs the prompts; the cache has room for `max_new` tokens."""
    encoded = self._encode(prompts, real(prompt_mask))
    _, memory = layers.scan(
      self.decoder.layers,
      lambda block, x, _: (x, block.cross.keys_values(x)),
      encoded,
    )
    n, b, _, *heads = memory[0].shape
    empty = jnp.zeros((n, b, 1 + max_new, *heads), encoded.dtype)
    cache = Cache((empty, empty), memory, prompt_mask, jnp.zeros(b, int))
    return self.decode(cache, jnp.full(b, self.start, prompts.dtype))

  @staticmethod
  def rows(cache: Cache) -> Cache:
    """See `Model`."""
    own, memory = apart.split(layers.by_head((cache.own, cache.memory)))
    return cache._replace(own=own, memory=memory)

  def decode(self, cache: Cache, tokens: Array) -> tuple[Cache, Array]:
    """Decodes one token a row: [B] -> [B, d]; at most `max_new` times."""
    by_head = apart.any_apart(cache.own)
    write = layers.write_by_head if by_head else layers.write
    slots = jnp.arange(apart.take(cache.own[0], 0).shape[2 if by_head else 1])
    attend = dataclasses.replace(self._attend, by_head=by_head)
    # Each row is at a place of its own.
    rows = self.decoder.bias(cache.slot, slots).transpose(2, 1, 0, 3)
    bias = Bias(dense=rows)
    so_far = real(slots[None] <= cache.slot[:, None])

    def attention(q: Array, k: Array, v: Array, past: Any) -> Any:
      own = write(past, (k, v), cache.slot)
      return attend(q, *own, so_far, bias).mixed, own

    def step(block: T5DecoderBlock, x: Array, past: Any) -> Any:
      own, memory = past
      seen = real(cache.prompt_mask)
      return block(x, attention, memory, attend, seen, own)

    x = self._embed(tokens[:, None])
    states, own = self.decoder(x, step, (cache.own, cache.memory))
    cache = cache._replace(own=own, slot=cache.slot + 1)
    return cache, self.scale * states[:, 0]

  def _decode(
    self,
    inputs: Array,
    attention: layers.Attention,
    encoded: Array,
    seen: Sight,
  ) -> Array:
    """Runs the decoder: states that predict the token after each input.

    Args:
      inputs: [B, S].
      attention: self-attention of the inputs.
      encoded: [B, P, d], states of the encoder.
      seen: the encoder's states that each input may see.

    Returns:
      [B, S, d].
    """
    attend = self._attend
    seen = attend.ready(seen, inputs.shape[1], encoded.shape[1])

    def step(block: T5DecoderBlock, x: Array, _: Any) -> Any:
      memory = block.cross.keys_values(encoded)
      return block(x, attention, memory, attend, seen, None)

    return self.decoder(self._embed(inputs), step)[0] * self.scale

  def _encode(self, prompts: Array, seen: Sight) -> Array:
    """Runs the encoder on what each token sees: [B, P] -> [B, P, d]."""
    # Distances within a prompt are the same wherever its padding lies, so
    # one bias serves all prompts.
    p = prompts.shape[1]
    attend = self._attend
    bias = attend.bias(self.encoder.bias, jnp.arange(p), jnp.arange(p))
    seen = attend.ready(seen, p, p)

    def attention(q: Array, k: Array, v: Array, _: Any) -> Any:
      return attend(q, k, v, seen, bias).mixed, None

    def step(block: T5EncoderBlock, x: Array, _: Any) -> Any:
      return block(x, attention), None

    return self.encoder(self._embed(prompts), step)[0]

  def _encode_packed(self, packed: Packed) -> Array:
    """Runs the encoder on packed rows: [G * R, P, d]."""
    owner = packing.rows(packed.prompt_owner)
    return self._encode(packing.rows(packed.prompts), same(owner, owner))

  @property
  def _attend(self) -> Attend:
    """Attention without 1/sqrt(D), as in T5."""
    return Attend(self.attention_path, scale=1.0)

  def _embed(self, tokens: Array) -> Array:
    """Embeds tokens: [B, S] -> [B, S, d]."""
    return constraints.spread(self.embedding(tokens))


def _mean(states: Array, own: Array) -> Array:
  """Means of states, [B, S, d], of one's own, bool [B, n, S]: [B, n, d].

  Summed in float32; zero for one that has no state.
  """
  share = own.astype(jnp.float32)
  share = share / jnp.maximum(share.sum(-1, keepdims=True), 1)
  mean = jnp.einsum("bns,bsd->bnd", share, states.astype(jnp.float32))
  return mean.astype(states.dtype)
