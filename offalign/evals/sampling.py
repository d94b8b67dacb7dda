"""Sampling completions from a policy."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from offalign.errors import UserError
from offalign.models.base import Model
from offalign.types import Array, Column, Params


class Samples(NamedTuple):
  """One completion of each prompt.

  Attributes:
    tokens: int32 [B, T]; EOS from the first EOS on.
    mask: bool [B, T], True up to and including the first EOS.
    logps: float32 [B], the log-probs of the tokens under the mask, summed,
      at temperature 1 whatever the temperature they were drawn at; nats.
  """

  tokens: Array
  mask: Array
  logps: Array


def sample(
  model: Model,
  params: Params,
  prompts: Column,
  prompt_mask: Column,
  *,
  seeds: Column,
  max_new_tokens: int,
  eos_id: int,
  temperature: float = 1.0,
) -> Samples:
  """Draws a completion of each prompt.

  A row depends on its prompt and its seed alone: which other prompts are in
  the batch, and how many, changes nothing.

  Args:
    model: the policy's model.
    params: its params.
    prompts: int32 [B, P].
    prompt_mask: bool [B, P].
    seeds: int32 [B], one a prompt.
    max_new_tokens: T.
    eos_id: the token that ends a completion.
    temperature: what the logits are divided by; 0 takes the likeliest token,
      and then the seeds do not matter.

  Raises:
    UserError: for an argument out of range.
  """
  if max_new_tokens < 1:
    raise UserError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
  if not 0 <= eos_id < model.vocab_size:
    raise UserError(
      f"eos_id {eos_id} is not in the vocabulary of {model.vocab_size} tokens"
    )
  if not 0 <= temperature < float("inf"):
    raise UserError(f"temperature must be 0 or above, not {temperature}")
  seeds = jnp.asarray(seeds)
  if not jnp.issubdtype(seeds.dtype, jnp.integer):
    raise UserError(f"seeds must be whole numbers, not {seeds.dtype}")
  if seeds.shape != prompts.shape[:1]:
    raise UserError(
      f"seeds have shape {seeds.shape}, but {prompts.shape[0]} prompts need "
      "one each"
    )
  return _sample(
    model,
    max_new_tokens,
    temperature == 0,
    params,
    prompts,
    prompt_mask,
    seeds,
    jnp.asarray(eos_id),
    jnp.asarray(temperature, jnp.float32),
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(
  model: Model,
  max_new_tokens: int,
  greedy: bool,
  params: Params,
  prompts: Array,
  prompt_mask: Array,
  seeds: Array,
  eos_id: Array,
  temperature: Array,
) -> Samples:
  unembedding = model.unembedding(params)
  keys = jax.vmap(jax.random.key)(seeds)

  def draw(logps: Array, step: Array) -> Array:
    if greedy:
      return jnp.argmax(logps, axis=-1)
    now = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
    return jax.vmap(jax.random.categorical)(now, logps / temperature)

  def advance(carry: Any, step: Array) -> Any:
    cache, state, done = carry
    logits = jnp.matmul(state, unembedding, preferred_element_type=jnp.float32)
    logps = jax.nn.log_softmax(logits)
    tokens = jnp.where(done, eos_id, draw(logps, step)).astype(jnp.int32)
    chosen = jnp.take_along_axis(logps, tokens[:, None], axis=1)[:, 0]
    cache, state = model.decode(params, cache, tokens)
    carry = cache, state, jnp.logical_or(done, tokens == eos_id)
    return carry, (tokens, ~done, jnp.where(done, 0.0, chosen))

  cache, state = model.prefill(params, prompts, prompt_mask, max_new_tokens)
  start = cache, state, jnp.zeros(prompts.shape[:1], bool)
  _, columns = jax.lax.scan(advance, start, jnp.arange(max_new_tokens))
  tokens, mask, logps = columns
  return Samples(tokens.T, mask.T, logps.sum(axis=0))
