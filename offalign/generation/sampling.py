"""Sample completions from a policy."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from offalign.errors import UserError
from offalign.generation import filters
from offalign.models import apart
from offalign.models.base import Model
from offalign.models.logps import soft_cap
from offalign.models.product import turned
from offalign.types import Array, Column, Params


class Samples(NamedTuple):
  """Sampled completions, one of each prompt.

  Attributes:
    tokens: int32 [B, T]; EOS after the token that ends a completion.
    mask: bool [B, T], True up to and including the token that ends a
      completion.
    logps: float32 [B], summed log-probs of the tokens under the mask, at
      temperature 1 and over the whole vocabulary, whatever options they were
      drawn with; nats.
    token_logps: float32 [B, T], of each token under the distribution that it
      was drawn from, with its temperature, top_k and top_p, which is what a
      ratio of importance divides by; at temperature 0, which draws nothing,
      the model's own; 0 beyond the mask; nats.
  """

  tokens: Array
  mask: Array
  logps: Array
  token_logps: Array


class Choice(NamedTuple):
  """How tokens are drawn; None where an option is off.

  Which options are on decides what is compiled; their values do not.

  Attributes:
    temperature: float32 []; None takes the likeliest token.
    top_k: int32 [].
    top_p: float32 [].
  """

  temperature: Array | None
  top_k: Array | None
  top_p: Array | None


def sample(
  model: Model,
  params: Params,
  prompts: Column,
  prompt_mask: Column,
  *,
  seeds: Column,
  max_new_tokens: int,
  eos_id: int | Sequence[int],
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
  limits: Column | None = None,
) -> Samples:
  """Samples one completion of each prompt.

  A row depends on its prompt and its seed alone: which other prompts are in
  the batch, and how many, changes nothing. The loop ends when every row has
  ended. Params and prompts may be sharded over a mesh, prompts along B; the
  samples are then sharded along B too.

  The options apply in the order of `transformers`: first temperature, then
  top_k, then top_p on the tokens that top_k leaves.

  Args:
    model: the policy's model.
    params: its params.
    prompts: int32 [B, P].
    prompt_mask: bool [B, P].
    seeds: int32 [B], one a prompt.
    max_new_tokens: T.
    eos_id: the token that ends a completion; of several, any ends one, and
      the first fills what comes after.
    temperature: what the logits are divided by; 0 takes the likeliest token,
      and then the seeds do not matter.
    top_k: draw from the k likeliest tokens, and those as likely as the k-th.
    top_p: draw from the smallest set of likeliest tokens that has this share
      of the probability.
    limits: int32 [B], tokens of each completion at most; None for
      `max_new_tokens`.

  Raises:
    UserError: for an argument out of range, or one without effect.
  """
  ends = list(eos_id) if isinstance(eos_id, Sequence) else [eos_id]
  check(model, max_new_tokens, ends, temperature, top_k, top_p)
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
    params,
    prepare(model, params),
    prompts,
    prompt_mask,
    seeds,
    jnp.asarray(ends, jnp.int32),
    choose(temperature, top_k, top_p),
    limits,
  )


class Weights(NamedTuple):
  """Weights in the form that decoding is fastest with.

  Attributes:
    params: what `Model.decode` takes.
    unembedding: [V, d].
  """

  params: Params
  unembedding: Array


def prepare(model: Model, params: Params) -> Weights:
  """Makes the weights that `decode` reads at each token.

  On CPUs layers are taken apart, which costs a copy of them; see
  `offalign.models.apart`. Elsewhere nothing is copied but the unembedding.

  Args:
    model: the policy's model.
    params: its params.
  """
  return _prepare(model, jax.default_backend() == "cpu", params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _prepare(model: Model, split: bool, params: Params) -> Weights:
  unembedding = model.unembedding(params).T
  if split and model.rows is not None:
    params = apart.split_params(params)
  return Weights(params, unembedding)


class Rows(NamedTuple):
  """Rows that are being completed.

  Attributes:
    cache: the model's.
    state: [B, d], which predicts each row's next token.
    step: int [B], tokens so far.
    done: bool [B].
    limit: int [B], tokens of each at most.
    keys: [B], random keys.
    logps: float32 [B], summed log-probs of the tokens so far; see `Samples`.
  """

  cache: Any
  state: Array
  step: Array
  done: Array
  limit: Array
  keys: Array
  logps: Array


def begin(
  model: Model,
  room: int,
  params: Params,
  prompts: Array,
  prompt_mask: Array,
  seeds: Array,
) -> Rows:
  """Runs prompts, and makes rows of them that have no token yet.

  Args:
    model: the policy's model.
    room: tokens of a completion at most.
    params: the model's, and not `Weights`.
    prompts: int32 [B, P].
    prompt_mask: bool [B, P].
    seeds: int32 [B].
  """
  cache, state = model.prefill(params, prompts, prompt_mask, room)
  if model.rows is not None:
    cache = model.rows(cache)
  return without_tokens(cache, state, seeds, room)


def without_tokens(cache: Any, state: Array, seeds: Array, room: int) -> Rows:
  """Makes rows that have no token yet.

  Args:
    cache: the model's.
    state: [B, d], of the last token of each prompt.
    seeds: int32 [B].
    room: tokens of a completion at most.
  """
  n = seeds.shape
  return Rows(
    cache,
    state,
    step=jnp.zeros(n, jnp.int32),
    done=jnp.zeros(n, bool),
    limit=jnp.full(n, room, jnp.int32),
    keys=jax.vmap(jax.random.key)(seeds),
    logps=jnp.zeros(n, jnp.float32),
  )


def advance(
  model: Model,
  steps: int,
  weights: Weights,
  rows: Rows,
  ends: Array,
  choice: Choice,
  ready: Array,
) -> tuple[Rows, Samples]:
  """Draws the next tokens of rows, until so many rows are done.

  Args:
    model: the policy's model.
    steps: T, tokens of a row at most.
    weights: from `prepare`.
    rows: to go on with.
    ends: int32 [n], tokens that end a completion.
    choice: how tokens are drawn.
    ready: int [], rows that are done for the loop to end.

  Returns:
    The rows after that, and what was drawn, [B, T]: its mask is of the tokens
    that were, and its summed log-probs are of all that a row has.
  """
  params, unembedding = weights
  count = rows.step.shape

  def unfinished(carry: Any) -> Array:
    i, rows, _ = carry
    return (i < steps) & (rows.done.sum() < ready)

  def one(carry: Any) -> Any:
    i, (cache, state, step, done, limit, keys, summed), drawn = carry
    logits = _logits(model, unembedding, state)
    tokens = jnp.where(done, ends[0], draw(logits, keys, step, choice))
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
    logps = chosen - jax.nn.logsumexp(logits, axis=-1)
    own = logps
    if choice.temperature is not None:
      own = jax.nn.log_softmax(restricted(logits, choice), axis=-1)
      own = jnp.take_along_axis(own, tokens[:, None], axis=1)[:, 0]
    own = jnp.where(done, 0.0, own)
    drawn = Samples(
      jax.lax.dynamic_update_index_in_dim(drawn.tokens, tokens, i, 1),
      jax.lax.dynamic_update_index_in_dim(drawn.mask, ~done, i, 1),
      drawn.logps,
      jax.lax.dynamic_update_index_in_dim(drawn.token_logps, own, i, 1),
    )
    summed = summed + jnp.where(done, 0.0, logps)
    cache, state = model.decode(params, cache, tokens)
    step = step + ~done
    ended = (tokens[:, None] == ends[None]).any(axis=1) | (step >= limit)
    rows = Rows(cache, state, step, done | ended, limit, keys, summed)
    return i + 1, rows, drawn

  shape = (*count, steps)
  drawn = Samples(
    jnp.broadcast_to(ends[0], shape),
    jnp.zeros(shape, bool),
    rows.logps,
    jnp.zeros(shape, jnp.float32),
  )
  start = jnp.asarray(0), rows, drawn
  _, rows, drawn = jax.lax.while_loop(unfinished, one, start)
  return rows, drawn._replace(logps=rows.logps)


def choose(
  temperature: float, top_k: int | None, top_p: float | None
) -> Choice:
  """Makes a `Choice`; the arguments are those of `sample`."""
  return Choice(
    None if temperature == 0 else jnp.asarray(temperature, jnp.float32),
    None if top_k is None else jnp.asarray(top_k, jnp.int32),
    None if top_p is None else jnp.asarray(top_p, jnp.float32),
  )


def check(
  model: Model,
  max_new_tokens: int,
  ends: list[int],
  temperature: float,
  top_k: int | None,
  top_p: float | None,
) -> None:
  """Checks the options of `sample`.

  Raises:
    UserError: for one out of range, or one without effect.
  """
  if max_new_tokens < 1:
    raise UserError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
  if not ends:
    raise UserError("eos_id names no token: nothing would end a completion")
  for end in ends:
    if not 0 <= end < model.vocab_size:
      raise UserError(
        f"eos_id {end} is not in the vocabulary of {model.vocab_size} tokens"
      )
  if not 0 <= temperature < float("inf"):
    raise UserError(f"temperature must be 0 or above, not {temperature}")
  for name, value in (("top_k", top_k), ("top_p", top_p)):
    if value is not None and temperature == 0:
      raise UserError(
        f"{name}={value} has no effect at temperature 0, which takes the "
        "likeliest token; leave it out"
      )
  if top_k is not None and not 1 <= top_k < model.vocab_size:
    raise UserError(
      f"top_k must be at least 1 and below the vocabulary's "
      f"{model.vocab_size} tokens, not {top_k}; leave it out for all tokens"
    )
  if top_p is not None and not 0 < top_p < 1:
    raise UserError(
      f"top_p must be above 0 and below 1, not {top_p}; leave it out for all "
      "tokens"
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(
  model: Model,
  max_new_tokens: int,
  params: Params,
  weights: Weights,
  prompts: Array,
  prompt_mask: Array,
  seeds: Array,
  ends: Array,
  choice: Choice,
  limits: Column | None,
) -> Samples:
  rows = begin(model, max_new_tokens, params, prompts, prompt_mask, seeds)
  if limits is not None:
    rows = rows._replace(limit=jnp.asarray(limits))
  every = jnp.asarray(prompts.shape[0])
  return advance(
    model, max_new_tokens, weights, rows, ends, choice, ready=every
  )[1]


def logits_of(model: Model, unembedding: Array, state: Array) -> Array:
  """Logits float32 [B, V] of hidden states [B, d]."""
  return _logits(model, unembedding.T, state)


def _logits(model: Model, unembedding: Array, state: Array) -> Array:
  """`logits_of` with the unembedding [V, d], which CPUs multiply faster."""
  return soft_cap(turned(unembedding, state, jnp.float32), model.softcap)


def draw(logits: Array, keys: Array, step: Array, choice: Choice) -> Array:
  """Draws one token a row, int32 [B], from logits [B, V].

  Args:
    logits: float32 [B, V].
    keys: a random key a row, [B].
    step: int [] or [B], number of the token; each has random numbers of its
      own.
    choice: how.
  """
  if choice.temperature is None:
    return _largest(logits)
  each = jnp.broadcast_to(step, keys.shape)
  now = jax.vmap(jax.random.fold_in)(keys, each)
  size, dtype = logits.shape[1:], logits.dtype
  noise = jax.vmap(lambda key: jax.random.gumbel(key, size, dtype))(now)
  return _largest(restricted(logits, choice) + noise)


def _largest(numbers: Array) -> Array:
  """`argmax` of the last axis, int32: [B, V] -> [B].

  With Gumbel noise this is `jax.random.categorical`, token for token. XLA on
  CPUs computes the noise within its own argmax one number at a time, which
  takes four times as long as a maximum and where it is first found. A row
  with a NaN in it gives 0.
  """
  v = numbers.shape[-1]
  top = numbers.max(axis=-1, keepdims=True)
  places = jnp.arange(v, dtype=jnp.int32)[None]
  # Not `==`, so that a row with NaN has a place too.
  return jnp.where(numbers < top, v, places).min(axis=-1)


def restricted(logits: Array, choice: Choice) -> Array:
  """Logits [B, V] of the distribution that tokens are drawn from.

  Args:
    logits: float32 [B, V], the model's.
    choice: how tokens are drawn; without a temperature nothing is changed.
  """
  if choice.temperature is None:
    return logits
  logits = logits / choice.temperature
  if choice.top_k is not None:
    logits = filters.top_k(logits, choice.top_k)
  if choice.top_p is not None:
    logits = filters.top_p(logits, choice.top_p)
  return logits
