"""A decoder-only transformer: pre-norm, RMSNorm, gelu MLP, no biases.

The K completions of a prompt are one sequence with it, [prompt | y_1 | ... |
y_K], in which each completion sees the prompt and its own past. The prompt is
therefore processed once, and no mask of that whole length squared is made:
attention to the prompt and attention within a completion are computed apart
and merged.
"""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from offalign.errors import UserError
from offalign.models import layers, positions
from offalign.models.base import Hidden
from offalign.types import Array


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """The size and the switches of a `Decoder`.

  Attributes:
    vocab_size: V.
    width: d.
    layers: blocks.
    heads: attention heads; they divide the width.
    mlp_ratio: width of the MLP / d.
    positions: "rope" (rotary, arXiv:2104.09864), or "learned" vectors added
      to the embeddings.
    max_positions: rows of the learned table: the longest prompt and
      completion together, padding included.
    prefix_lm: whether the tokens of a prompt see those after them too.
    tied: whether the embedding is also the unembedding.
    remat: whether the backward pass recomputes the inside of each layer.
  """

  vocab_size: int
  width: int = 64
  layers: int = 2
  heads: int = 4
  mlp_ratio: int = 4
  positions: Literal["rope", "learned"] = "rope"
  max_positions: int | None = None
  prefix_lm: bool = False
  tied: bool = False
  remat: bool = False

  def __post_init__(self) -> None:
    learned = self.positions == "learned"
    if self.width % self.heads:
      raise UserError(f"heads={self.heads} do not divide width={self.width}")
    if not learned and self.width // self.heads % 2:
      raise UserError(
        f"positions=rope turns pairs, and width={self.width} / "
        f"heads={self.heads} is odd: change either, or use positions=learned"
      )
    if learned and self.max_positions is None:
      raise UserError(
        "positions=learned needs max_positions, the longest prompt and "
        "completion together"
      )
    if not learned and self.max_positions is not None:
      raise UserError(
        "max_positions is for positions=learned: rope has no table to fill"
      )


class Block(nnx.Module):
  """Attention and MLP, each on the norm of the stream and added to it."""

  def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
    d, inner = config.width, config.mlp_ratio * config.width
    # The stream is a sum of 2 L branches; each starts with its share.
    share = (2 * config.layers) ** -0.5
    self.heads = config.heads
    self.attention_norm = layers.RMSNorm(d)
    self.query = layers.Linear(d, d, d**-0.5, rngs=rngs)
    self.key = layers.Linear(d, d, d**-0.5, rngs=rngs)
    self.value = layers.Linear(d, d, d**-0.5, rngs=rngs)
    self.out = layers.Linear(d, d, share * d**-0.5, rngs=rngs)
    self.mlp_norm = layers.RMSNorm(d)
    self.up = layers.Linear(d, inner, d**-0.5, rngs=rngs)
    self.down = layers.Linear(inner, d, share * inner**-0.5, rngs=rngs)

  def __call__(
    self,
    x: Array,
    rotation: positions.Rotation | None,
    attention: layers.Attention,
    cache: Any,
  ) -> tuple[Array, Any]:
    """[B, S, d] -> [B, S, d], and the layer's new cache."""
    h = self.attention_norm(x)
    q, k, v = (
      layers.split_heads(project(h), self.heads)
      for project in (self.query, self.key, self.value)
    )
    if rotation is not None:
      q, k = rotation(q), rotation(k)
    mixed, cache = attention(q, k, v, cache)
    x = x + self.out(mixed.reshape(x.shape))
    x = x + self.down(jax.nn.gelu(self.up(self.mlp_norm(x))))
    return x, cache


class Cache(NamedTuple):
  """What decoding remembers: the prompt, then the new tokens.

  Attributes:
    past: keys and values, each [L, B, P + max_new, H, D].
    visible: bool [B, P + max_new], True on the tokens so far.
    slot: int [], where the next token goes.
    position: int [B], the position of the next token.
  """

  past: tuple[Array, Array]
  visible: Array
  slot: Array
  position: Array


class Decoder(nnx.Module):
  """The model; its methods are those of `Model`, less the params."""

  def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
    self.config = config
    v, d = config.vocab_size, config.width
    self.embedding = layers.Embedding(v, d, d**-0.5, rngs=rngs)
    if config.max_positions is not None:
      self.position_embedding = layers.Embedding(
        config.max_positions, d, d**-0.5, rngs=rngs
      )
    self.layers = layers.stack(
      lambda rngs: Block(config, rngs=rngs), config.layers, rngs
    )
    self.norm = layers.RMSNorm(d)
    if not config.tied:
      self.head = layers.Linear(d, v, d**-0.5, rngs=rngs)

  def hidden(
    self,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    """See `offalign.models.base.HiddenFn`."""
    del completion_mask  # on the right: no real token would look there
    b, k, t = completions.shape
    p = prompts.shape[1]
    self._check_length(p + t)
    offsets = jnp.tile(jnp.arange(t), (b, k))
    states, _ = self._run(
      jnp.concatenate([prompts, completions.reshape(b, k * t)], axis=1),
      jnp.concatenate(
        [
          positions.from_mask(prompt_mask),
          positions.lengths(prompt_mask)[:, None] + offsets,
        ],
        axis=1,
      ),
      self._shared_prompt(prompt_mask, k, t),
    )
    prompt = positions.last_real(states[:, :p], prompt_mask)
    first = jnp.broadcast_to(prompt[:, None, None], (b, k, 1, prompt.shape[-1]))
    later = states[:, p:].reshape(b, k, t, -1)[:, :, :-1]
    return Hidden(prompt, jnp.concatenate([first, later], axis=2))

  def prompt_state(self, prompts: Array, prompt_mask: Array) -> Array:
    """[B, P], [B, P] -> [B, d]."""
    self._check_length(prompts.shape[1])
    states, _ = self._run_prompt(prompts, prompt_mask)
    return positions.last_real(states, prompt_mask)

  def unembedding(self) -> Array:
    """[d, V]."""
    if self.config.tied:
      return self.embedding.table[...].T
    return self.head.kernel[...]

  def prefill(
    self, prompts: Array, prompt_mask: Array, max_new: int
  ) -> tuple[Cache, Array]:
    """Runs the prompts; leaves room for `max_new` tokens."""
    self._check_length(prompts.shape[1] + max_new)
    states, past = self._run_prompt(prompts, prompt_mask)
    room = ((0, 0), (0, 0), (0, max_new), (0, 0), (0, 0))
    cache = Cache(
      past=jax.tree.map(lambda x: jnp.pad(x, room), past),
      visible=jnp.pad(prompt_mask, ((0, 0), (0, max_new))),
      slot=jnp.asarray(prompts.shape[1]),
      position=positions.lengths(prompt_mask),
    )
    return cache, positions.last_real(states, prompt_mask)

  def decode(self, cache: Cache, tokens: Array) -> tuple[Cache, Array]:
    """[B] -> [B, d]; to be called at most `max_new` times."""
    visible = cache.visible.at[:, cache.slot].set(True)

    def attention(q: Array, k: Array, v: Array, past: Any) -> Any:
      keys, values = layers.write(past, (k, v), cache.slot)
      mixed = layers.attend(q, keys, values, visible[:, None, None]).mixed
      return mixed, (keys, values)

    states, past = self._run(
      tokens[:, None], cache.position[:, None], attention, cache.past
    )
    cache = Cache(past, visible, cache.slot + 1, cache.position + 1)
    return cache, states[:, 0]

  def _run(
    self,
    tokens: Array,
    where: Array,
    attention: layers.Attention,
    cache: Any = None,
  ) -> tuple[Array, Any]:
    """[B, S] tokens, at positions `where`, -> [B, S, d] and caches [L, ...]."""
    x = self.embedding(tokens)
    if self.config.positions == "learned":
      x = x + self.position_embedding(where)
      rotation = None
    else:
      rotation = positions.Rotation.at(
        where, self.config.width // self.config.heads
      )
    x, cache = layers.scan(
      self.layers,
      lambda block, x, cache: block(x, rotation, attention, cache),
      x,
      cache,
      remat=self.config.remat,
    )
    return self.norm(x), cache

  def _run_prompt(self, prompts: Array, mask: Array) -> tuple[Array, Any]:
    """Prompts alone: their states [B, P, d], and the keys and values."""

    view = self._prompt_view(mask)

    def attention(q: Array, k: Array, v: Array, _: Any) -> Any:
      return layers.attend(q, k, v, view).mixed, (k, v)

    return self._run(prompts, positions.from_mask(mask), attention)

  def _shared_prompt(
    self, prompt_mask: Array, k: int, t: int
  ) -> layers.Attention:
    """Attention of [prompt | y_1 | ... | y_K], which costs P^2 + KT(P + T)."""
    b, p = prompt_mask.shape
    view = self._prompt_view(prompt_mask)

    def apart(x: Array) -> Array:
      return x[:, p:].reshape(b * k, t, *x.shape[2:])

    def together(x: Array) -> Array:
      return x.reshape(b, k * t, *x.shape[2:])

    def attention(q: Array, k: Array, v: Array, _: Any) -> Any:
      keys, values = k[:, :p], v[:, :p]
      within = layers.attend(q[:, :p], keys, values, view)
      back = layers.attend(q[:, p:], keys, values, prompt_mask[:, None, None])
      own = layers.attend(apart(q), apart(k), apart(v), layers.causal(t))
      own = layers.Attended(together(own.mixed), together(own.mass))
      mixed = jnp.concatenate([within.mixed, layers.merge(back, own)], axis=1)
      return mixed, None

    return attention

  def _prompt_view(self, mask: Array) -> Array:
    """[B, 1, P or 1, P] what each prompt token sees of the prompt."""
    view = mask[:, None, None]
    if self.config.prefix_lm:
      return view
    return jnp.logical_and(view, layers.causal(mask.shape[1]))

  def _check_length(self, length: int) -> None:
    limit = self.config.max_positions
    if limit is not None and length > limit:
      raise UserError(
        f"prompt and completion take {length} positions, padding included, "
        f"but the model has max_positions={limit}: shorten them, or give the "
        "model more"
      )
