"""A tabular policy behind the same boundary as the language models.

A prompt is one token, the row x of a table; a completion is one token, the
arm y. So the library's own losses, learner and value heads run on a bandit
whose optimum is known in closed form.
"""

from typing import Any

import jax
import jax.numpy as jnp

from offalign.models.base import Hidden, Model
from offalign.types import Array, Params


def tabular(log_ref: Array) -> Model:
  """A policy softmax(log_ref + theta), theta = 0 at the start.

  The state of a prompt is its one-hot vector, so a value head on it is a
  table V[x].

  Args:
    log_ref: [X, Y] log-probs of the reference.
  """
  x, y = log_ref.shape

  def state(params: Params, prompts: Array, prompt_mask: Array) -> Array:
    return jax.nn.one_hot(prompts[:, 0], x, dtype=params["table"].dtype)

  def hidden(
    params: Params,
    prompts: Array,
    prompt_mask: Array,
    completions: Array,
    completion_mask: Array,
  ) -> Hidden:
    rows = state(params, prompts, prompt_mask)
    shape = (*completions.shape, x)
    return Hidden(rows, jnp.broadcast_to(rows[:, None, None, :], shape))

  def prefill(
    params: Params, prompts: Array, prompt_mask: Array, max_new: int
  ) -> tuple[Any, Array]:
    return (), state(params, prompts, prompt_mask)

  def decode(params: Params, cache: Any, tokens: Array) -> tuple[Any, Array]:
    raise NotImplementedError("a bandit's completions have one token")

  return Model(
    spec="tabular",
    vocab_size=y,
    width=x,
    init=lambda rng: {"table": jnp.asarray(log_ref)},
    hidden=hidden,
    prompt_state=state,
    unembedding=lambda params: params["table"],
    prefill=prefill,
    decode=decode,
  )
