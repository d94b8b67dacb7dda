"""A few completions of the `ops` track as text, for the report."""

import numpy as np

from benchmarks import ops_world
from offalign.leaderboard import Sample

_NAMES = ("PAD", "SEP", "EOS", "COPY", "REV", "SORT", "PRE", "UM", "DONE")
_EACH = 2  # prompts of each operation


def text(tokens: np.ndarray) -> str:
  """Tokens [T] as words; letters are a, b, ... and padding is left out."""
  return " ".join(
    name(token) for token in map(int, tokens) if token != ops_world.PAD
  )


def name(token: int) -> str:
  """A token as a word."""
  if token < ops_world.FIRST_LETTER:
    return _NAMES[token]
  return chr(ord("a") + token - ops_world.FIRST_LETTER)


def collect(
  prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray, gold: np.ndarray
) -> list[Sample]:
  """The samples of the first two prompts of each operation.

  The choice looks at prompts alone, so it is the same for every method and
  favours none.

  Args:
    prompts: int32 [n, 7].
    tokens: int32 [n, 11].
    mask: bool [n, 11].
    gold: [n] rewards.

  Returns:
    Copies first, then reversals, then sortings.
  """
  picked = [
    i
    for op in ops_world.OPS
    for i in np.flatnonzero(prompts[:, 0] == op)[:_EACH]
  ]
  return [
    Sample(
      text(prompts[i][:-1]), text(tokens[i][mask[i]]), round(float(gold[i]), 3)
    )
    for i in picked
  ]
