"""Check that a model has every token that the data use.

A published tokenizer may have more entries than its model's embedding has
rows: Gemma 3's has one for images, which the text models lack. That harms
only where data use such an entry.
"""

import numpy as np

from offalign.data.batches.token_rows import TokenRows
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import UserError


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int, model: str) -> None:
  """Refuses a tokenizer whose end or padding the model does not have.

  Args:
    tokenizer: the tokenizer.
    vocab_size: V, tokens that the model has.
    model: the model's name, for errors.

  Raises:
    UserError: naming the token.
  """
  for token in (*tokenizer.end_ids, tokenizer.pad_id):
    if token >= vocab_size:
      _refuse(tokenizer, token, vocab_size, model)


def check_rows(
  rows: TokenRows, tokenizer: Tokenizer, vocab_size: int, model: str
) -> None:
  """Refuses rows that use a token which the model does not have.

  Args:
    rows: prompts and completions as tokens.
    tokenizer: the tokenizer that made them.
    vocab_size: V, tokens that the model has.
    model: the model's name, for errors.

  Raises:
    UserError: naming the row and the token.
  """
  for sequences, index in (
    (rows.prompts, rows.prompt_index[:, None]),
    (rows.completions, rows.completion_index),
  ):
    found = [
      start + np.flatnonzero(tokens >= vocab_size)
      for start, tokens in sequences.blocks()
    ]
    beyond = np.concatenate([np.zeros(0, np.int64), *found])
    if not len(beyond):
      continue
    owners = np.searchsorted(sequences.offsets, beyond, side="right") - 1
    used = np.isin(index, owners)
    if not used.any():
      continue
    row, k = np.argwhere(used)[0]
    tokens = sequences[index[row, k]]
    _refuse(
      tokenizer,
      int(tokens[tokens >= vocab_size][0]),
      vocab_size,
      model,
      f"{rows.sources[row][k]}: ",
    )


def check_tokens(
  tokens: np.ndarray, tokenizer: Tokenizer, vocab_size: int, model: str
) -> None:
  """Refuses tokens, int of any shape, which the model does not have.

  Raises:
    UserError: naming the first.
  """
  beyond = tokens[tokens >= vocab_size]
  if beyond.size:
    _refuse(tokenizer, int(beyond[0]), vocab_size, model)


def _refuse(
  tokenizer: Tokenizer, token: int, vocab_size: int, model: str, at: str = ""
) -> None:
  raise UserError(
    f"{at}the tokenizer makes token {token} ({tokenizer.name_of(token)!r}), "
    f"and {model} has a vocabulary of {vocab_size} tokens: give the tokenizer "
    "that the model was made for"
  )
