"""A bag of words: each state is the sum of the embeddings before it.

Far too small to be useful; it shows what a model of your own provides.
"""

import dataclasses

import jax
import jax.numpy as jnp

from offalign import models
from offalign.models import Hidden, Model
from offalign.types import Array, Params


@dataclasses.dataclass(frozen=True)
class BagConfig:
  """Options of `bag(width=8)`.

  Attributes:
    vocab_size: V, set by the tokenizer.
    width: d, the size of the embeddings.
  """

  vocab_size: int
  width: int = 8


def bag(config: BagConfig) -> Model:
  """Builds the model: six functions over a dict of arrays."""
  size = config.vocab_size, config.width

  def init(rng: Array) -> Params:
    one, two = jax.random.split(rng)
    return {
      "table": 0.2 * jax.random.normal(one, size),
      "head": 0.2 * jax.random.normal(two, size[::-1]),
    }

  def prompt_state(params: Params, prompts: Array, mask: Array) -> Array:
    """[B, d] for value heads: it may see the prompt and nothing else."""
    states = params["table"][prompts]
    return jnp.where(mask[..., None], states, jnp.zeros_like(states)).sum(1)

  def hidden(
    params: Params,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    """Entry t of the states predicts completion token t."""
    first = prompt_state(params, prompts, prompt_mask)
    seen = jnp.cumsum(params["table"][completions], axis=2)
    before = jnp.pad(seen[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))
    return Hidden(first, first[:, None, None] + before)

  def prefill(
    params: Params, prompts: Array, mask: Array, max_new: int
  ) -> tuple[Array, Array]:
    """A cache, and the state that predicts the first new token."""
    state = prompt_state(params, prompts, mask)
    return state, state

  def decode(
    params: Params, cache: Array, tokens: Array
  ) -> tuple[Array, Array]:
    """The state that predicts the token after each of `tokens`."""
    state = cache + params["table"][tokens]
    return state, state

  return Model(
    spec="bag",
    vocab_size=config.vocab_size,
    width=config.width,
    init=init,
    hidden=hidden,
    prompt_state=prompt_state,
    unembedding=lambda params: params["head"],
    prefill=prefill,
    decode=decode,
  )


models.register("bag", BagConfig, bag)
