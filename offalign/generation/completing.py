"""Prompts in, texts out: sampling with a tokenizer around it."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from offalign.data import Message, Tokenizer
from offalign.data.batches.ragged import Ragged
from offalign.errors import UserError
from offalign.generation.sampling import sample
from offalign.models.base import Model
from offalign.types import Params


@dataclasses.dataclass(frozen=True)
class Completed:
  """One completion; `str` is its text.

  Attributes:
    text: without what ends it.
    tokens: how many, the end included.
    finished: whether it ended by itself, and was not cut.
  """

  text: str
  tokens: int
  finished: bool

  def __str__(self) -> str:
    return self.text


def encode(
  tokenizer: Tokenizer, prompts: Sequence[Any], max_prompt: int | None
) -> tuple[Ragged, int]:
  """Prompts as tokens, and how many were cut.

  Args:
    tokenizer: the policy's.
    prompts: text, or (role, content) turns.
    max_prompt: tokens that are kept, the last ones.

  Raises:
    UserError: for a prompt without any token; or see the tokenizer.
  """
  made, cut = tokenizer.encode_prompts(
    [
      prompt
      if isinstance(prompt, str)
      else tuple(Message(*turn) for turn in prompt)
      for prompt in prompts
    ],
    max_prompt,
  )
  if not all(map(len, made)):
    raise UserError("a prompt has no token; remove empty prompts")
  return Ragged.of(made), cut


def complete(
  model: Model,
  params: Params,
  tokenizer: Tokenizer,
  prompts: Ragged,
  *,
  stream: str,
  max_new_tokens: int,
  batch_size: int,
  temperature: float = 1.0,
  after_batch: Callable[[], None] = lambda: None,
) -> list[Completed]:
  """One completion of each prompt.

  Args:
    model: the policy's.
    params: the policy's.
    tokenizer: the policy's.
    prompts: tokens of n prompts, none empty.
    stream: names the random numbers: prompt i has the same ones each time,
      and two streams have nothing to do with each other.
    max_new_tokens: tokens at most.
    batch_size: prompts at a time.
    temperature: see `sample`.
    after_batch: called between batches.
  """
  n, width = len(prompts), int(prompts.lengths.max())
  first = zlib.crc32(stream.encode()) % 2**30
  ends = np.array(tokenizer.end_ids)
  done: list[Completed] = []
  for begin in range(0, n, batch_size):
    # The last batch is filled with its own last row: one shape for all.
    rows = np.minimum(np.arange(begin, begin + batch_size), n - 1)
    tokens, mask = prompts.padded(rows, width, tokenizer.pad_id)
    drawn = jax.device_get(
      sample(
        model,
        params,
        tokens,
        mask,
        seeds=(first + rows).astype(np.int32),
        max_new_tokens=max_new_tokens,
        eos_id=list(tokenizer.end_ids),
        temperature=temperature,
      )
    )
    for k in range(min(batch_size, n - begin)):
      ids = drawn.tokens[k][drawn.mask[k]]
      finished = bool(np.isin(ids[-1], ends))
      done.append(Completed(tokenizer.decode(ids), len(ids), finished))
    after_batch()
  return done
