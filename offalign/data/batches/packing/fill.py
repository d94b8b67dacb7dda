"""Fill packed rows: a batch's tokens, end to end, in a given shape."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from offalign.data.batches.packing.shape import Shape, deal
from offalign.errors import UserError
from offalign.types import Batch, Packed


def lengths(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
  """Lengths of prompts and completions, as the room that they take.

  A row of weight 0 counts for nothing, so it is cut to one token of the
  prompt and of each completion. An empty completion takes room for one.

  Args:
    batch: B prompts with K completions.

  Returns:
    int [B] prompt tokens, and int [B, K] completion tokens.

  Raises:
    UserError: for a prompt without a token.
  """
  prompts = np.asarray(batch.prompt_mask).sum(axis=1)
  completions = np.maximum(np.asarray(batch.completion_mask).sum(axis=2), 1)
  counts = np.asarray(batch.weight) > 0
  if not prompts.all():
    raise UserError(
      f"row {int(prompts.argmin())} of the batch has a prompt without a "
      "token, which cannot be packed; remove it"
    )
  return (
    np.where(counts, prompts, 1),
    np.where(counts[:, None], completions, 1),
  )


def members(size: int, shards: int, microbatches: int) -> np.ndarray:
  """int [G, E], the rows of a batch that are in each group; see `Packed`."""
  rows = np.arange(size).reshape(shards, -1, microbatches)
  return rows.transpose(0, 2, 1).reshape(shards * microbatches, -1)


def pack(
  batch: Batch, shape: Shape, *, shards: int = 1, microbatches: int = 1
) -> Packed:
  """Packs the tokens of a batch into rows.

  Args:
    batch: numpy; B prompts with K completions.
    shape: of each group.
    shards: parts that the devices cut the batch into.
    microbatches: parts of each that are processed one after the other.

  Raises:
    UserError: where the tokens of a group do not fit, or a prompt has none.
  """
  prompt, completion = lengths(batch)
  groups = members(len(prompt), shards, microbatches)
  total = completion.sum(axis=1)
  row, tokens = deal(prompt[groups], total[groups], shape.rows)
  most = tokens.max(axis=(0, 1))
  if most[0] > shape.prompt or most[1] > shape.completion:
    raise UserError(
      f"a row of {most[0]} prompt and {most[1]} completion tokens does not "
      f"fit {shape}; choose a shape by the lengths of all batches"
    )
  out = _empty(batch, shape, len(groups), microbatches)
  k = completion.shape[1]
  for place in _places(groups, row, prompt, completion, shape):
    at, b, x = (place.group, place.row), place.b, place.prompt
    n = prompt[b]
    out.prompts[at][x] = batch.prompts[b][batch.prompt_mask[b]][:n]
    out.prompt_owner[at][x] = place.number + 1
    out.prompt_position[at][x] = np.arange(n)
    out.prompt_end[b] = place.row * shape.prompt + x.stop - 1
    for i, y in enumerate(place.completions):
      steps = np.arange(completion[b, i])
      out.completions[at][y] = batch.completions[b, i, : len(steps)]
      out.segment[at][y] = place.number * k + i + 1
      out.position[at][y] = n + steps
      out.before[at][y] = shape.prompt + y.start - 1 + steps
      out.before[at][y.start] = x.stop - 1
      out.begin[b, i] = place.row * shape.completion + y.start
  return out


def _empty(
  batch: Batch, shape: Shape, groups: int, microbatches: int
) -> Packed:
  """Rows of padding."""

  def tokens(room: int) -> np.ndarray:
    return np.zeros((groups, shape.rows, room), np.int32)

  return Packed(
    prompts=tokens(shape.prompt),
    prompt_owner=tokens(shape.prompt),
    prompt_position=tokens(shape.prompt),
    prompt_end=np.zeros(len(batch.prompts), np.int32),
    completions=tokens(shape.completion),
    segment=tokens(shape.completion),
    position=tokens(shape.completion),
    before=tokens(shape.completion),
    begin=np.zeros(batch.completions.shape[:2], np.int32),
    longest=batch.prompts.shape[1] + batch.completions.shape[2],
    microbatches=microbatches,
  )


class _Place(NamedTuple):
  """Where a prompt and its completions go.

  Attributes:
    b: the prompt's number in the batch.
    group: the group that it is in.
    number: the prompt's number in the group.
    row: the packed row of the group.
    prompt: where its tokens lie among the row's prompt tokens.
    completions: where its completions lie among the row's completion tokens.
  """

  b: int
  group: int
  number: int
  row: int
  prompt: slice
  completions: list[slice]


def _places(
  groups: np.ndarray,
  row: np.ndarray,
  prompt: np.ndarray,
  completion: np.ndarray,
  shape: Shape,
) -> Iterator[_Place]:
  """Fills the rows from the left, in the order of the batch."""
  for g, group in enumerate(groups):
    next_prompt = np.zeros(shape.rows, int)
    next_completion = np.zeros(shape.rows, int)
    for number, b in enumerate(group):
      r = int(row[g, number])
      x = slice(next_prompt[r], next_prompt[r] + prompt[b])
      ends = next_completion[r] + np.cumsum(completion[b])
      starts = ends - completion[b]
      next_prompt[r], next_completion[r] = x.stop, ends[-1]
      ys = [slice(*pair) for pair in zip(starts, ends, strict=True)]
      yield _Place(int(b), g, number, r, x, ys)
