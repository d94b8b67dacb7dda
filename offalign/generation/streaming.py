"""Stream a completion: its text piece by piece, as it is sampled.

The tokens are those of `sample` with the same seed: only how many are made
before the program looks at them differs.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from offalign.data import Tokenizer
from offalign.generation import sampling
from offalign.generation.sampling import Choice
from offalign.models.base import Model
from offalign.types import Array, Params

_PIECE = 4  # tokens between two pieces of text; fewer cost more
_BUCKET = 64  # lengths are rounded up to multiples, so that programs are few
_UNKNOWN = "\ufffd"  # what a cut character decodes to


class Piece(NamedTuple):
  """What has become known of a completion.

  Attributes:
    text: what follows the text of the pieces before; may be "".
    tokens: tokens so far, the one that ends it included.
    finished: None while it goes on; then whether it ended by itself (True)
      or was cut at the limit (False).
  """

  text: str
  tokens: int
  finished: bool | None


def stream(
  model: Model,
  params: Params,
  tokenizer: Tokenizer,
  prompt: np.ndarray,
  *,
  seed: int,
  max_new_tokens: int,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
) -> Iterator[Piece]:
  """Samples one completion, and yields its text as it grows.

  Args:
    model: the policy's model.
    params: the policy's params.
    tokenizer: the policy's tokenizer.
    prompt: int [P], the prompt's tokens.
    seed: as in `sample`.
    max_new_tokens: longest completion in tokens.
    temperature: as in `sample`, like the next two.
    top_k: likewise.
    top_p: likewise.

  Yields:
    Pieces; the last, and only the last, says whether it finished. Closing
    the iterator stops the sampling.

  Raises:
    UserError: as `sample`.
  """
  ends = list(tokenizer.end_ids)
  sampling.check(model, max_new_tokens, ends, temperature, top_k, top_p)
  return _pieces(
    model,
    params,
    tokenizer,
    prompt,
    seed,
    max_new_tokens,
    sampling.choose(temperature, top_k, top_p),
  )


def _pieces(
  model: Model,
  params: Params,
  tokenizer: Tokenizer,
  prompt: np.ndarray,
  seed: int,
  limit: int,
  choice: Choice,
) -> Iterator[Piece]:
  ends = np.array(tokenizer.end_ids, np.int32)
  width = _round_up(len(prompt))
  tokens = np.full((1, width), tokenizer.pad_id, np.int32)
  tokens[0, : len(prompt)] = prompt
  mask = np.arange(width)[None] < len(prompt)
  cache, state = _prefill(model, _round_up(limit), params, tokens, mask)
  key = jax.random.key(seed)[None]
  made: list[int] = []
  said = ""
  while True:
    cache, state, drawn = _advance(
      model, params, cache, state, key, np.int32(len(made)), choice
    )
    new = np.asarray(drawn)[: limit - len(made)]
    stops = np.flatnonzero(np.isin(new, ends))
    if len(stops):
      new = new[: stops[0] + 1]
    made += new.tolist()
    whole = tokenizer.decode(made)
    over = bool(len(stops)) or len(made) == limit
    if not over:
      # The bytes of a character may come in several tokens.
      whole = whole.rstrip(_UNKNOWN)
    # What was said cannot be taken back, if a decoder should change it.
    same = (a == b for a, b in zip(said, whole, strict=False))
    text = whole[sum(itertools.takewhile(bool, same)) :]
    if over:
      yield Piece(text, len(made), bool(len(stops)))
      return
    said = max(said, whole, key=len)
    yield Piece(text, len(made), None)


def _round_up(n: int) -> int:
  return -(-n // _BUCKET) * _BUCKET


@functools.partial(jax.jit, static_argnums=(0, 1))
def _prefill(
  model: Model, room: int, params: Params, tokens: Array, mask: Array
) -> tuple[Any, Array]:
  return model.prefill(params, tokens, mask, room + _PIECE)


@functools.partial(jax.jit, static_argnums=(0,), donate_argnums=(2,))
def _advance(
  model: Model,
  params: Params,
  cache: Any,
  state: Array,
  key: Array,
  step: Array,
  choice: Choice,
) -> tuple[Any, Array, Array]:
  """Draws the next few tokens of one row."""
  unembedding = model.unembedding(params)

  def one(carry: Any, i: Array) -> Any:
    cache, state = carry
    logits = sampling.logits_of(model, unembedding, state)
    token = sampling.draw(logits, key, step + i, choice)
    return model.decode(params, cache, token), token[0]

  steps = jnp.arange(_PIECE, dtype=jnp.int32)
  (cache, state), drawn = jax.lax.scan(one, (cache, state), steps)
  return cache, state, drawn
