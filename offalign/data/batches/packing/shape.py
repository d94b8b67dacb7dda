"""The shape of rows that hold several prompts and their completions.

A program is compiled for one shape, so the rows must hold the fullest of all
batches to come. Which these are is known before the first step: the shape is
chosen from their lengths.

The prompts that may share rows (a group: those of one microbatch on one
shard) are dealt to a fixed number of rows, longest first, each to the row
that is then least full (Graham, 1969). Rows have room for prompt tokens and
for completion tokens apart, which is what an encoder-decoder wants, and what
lets a decoder compute logits where completion tokens are predicted alone.
"""

import dataclasses

import numpy as np

_ALIGN = 8  # room is a multiple of it
_SAMPLE = 256  # groups by which the number of rows is chosen
_CHUNK = 4096  # groups that are dealt at one time


@dataclasses.dataclass(frozen=True)
class Shape:
  """Shape of a group's packed rows.

  Attributes:
    rows: R.
    prompt: P, room for prompt tokens in each.
    completion: C, room for completion tokens in each.
  """

  rows: int
  prompt: int
  completion: int

  @property
  def tokens(self) -> int:
    """Tokens that a model processes for a group."""
    return self.rows * (self.prompt + self.completion)

  def cost(self, width: int) -> float:
    """Cost of a layer for a group; see `cost`."""
    p, c = self.prompt, self.completion
    return cost(width, self.tokens, self.rows * (p * p + c * (p + c)))


def cost(width: int, tokens: int, pairs: int) -> float:
  """Cost of a layer in multiplications, in units of one pair in attention.

  A token takes some 12 d^2 multiplications with the weights of a layer, and a
  pair of tokens 2 d in attention: a token costs as much as 6 d pairs.

  Args:
    width: d of the model.
    tokens: that are processed.
    pairs: of tokens in attention, those that a mask parts included.
  """
  return 6.0 * width * tokens + pairs


def deal(
  prompts: np.ndarray, completions: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
  """Deals the prompts of groups to rows, the longest first.

  Args:
    prompts: int [S, E], their tokens, in each of S groups.
    completions: int [S, E], those of their completions together.
    rows: R.

  Returns:
    int [S, E], the row of each; and int [S, R, 2], what is in the rows,
    prompt and completion tokens. A group's do not depend on the others.
  """
  sizes = np.stack([prompts, completions], axis=-1)
  share = sizes / sizes.sum(axis=1, keepdims=True)
  order = np.argsort(-share.max(axis=-1), axis=1, kind="stable")
  each = np.arange(len(sizes))
  row = np.zeros(prompts.shape, np.int64)
  filled = np.zeros((len(sizes), rows, 2))
  tokens = np.zeros((len(sizes), rows, 2), np.int64)
  for i in order.T:
    then = filled + share[each, i][:, None]
    least = then.max(axis=-1).argmin(axis=1)
    filled[each, least] = then[each, least]
    tokens[each, least] += sizes[each, i]
    row[each, i] = least
  return row, tokens


def fit(prompts: np.ndarray, completions: np.ndarray, rows: int) -> Shape:
  """Finds the least room in which every group fits.

  Args:
    prompts: see `deal`.
    completions: see `deal`.
    rows: R.
  """
  room = np.zeros(2, np.int64)
  for start in range(0, len(prompts), _CHUNK):
    part = slice(start, start + _CHUNK)
    _, tokens = deal(prompts[part], completions[part], rows)
    room = np.maximum(room, tokens.max(axis=(0, 1)))
  prompt, completion = (int(-(-n // _ALIGN) * _ALIGN) for n in room)
  return Shape(rows, prompt, completion)


def choose(prompts: np.ndarray, completions: np.ndarray, width: int) -> Shape:
  """Chooses the cheapest shape that holds every group.

  Fewer, longer rows have less padding, and more pairs of tokens to mask.

  Args:
    prompts: see `deal`.
    completions: see `deal`.
    width: of the model, see `cost`.
  """
  some = np.s_[:: -(-len(prompts) // _SAMPLE)]
  shapes = [
    fit(prompts[some], completions[some], rows)
    for rows in _candidates(prompts.shape[1])
  ]
  best = min(shapes, key=lambda shape: shape.cost(width))
  return fit(prompts, completions, best.rows)


def _candidates(most: int) -> list[int]:
  """Numbers of rows to try: all up to 16, then about a tenth apart."""
  found = [1]
  while found[-1] < most:
    found.append(min(max(found[-1] + 1, round(found[-1] * 1.1)), most))
  return found
