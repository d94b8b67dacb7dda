"""Which rows make a batch, and the batch itself."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from offalign.data.batches.token_rows import TokenRows
from offalign.data.text.ragged import Ragged
from offalign.errors import UserError
from offalign.types import Batch


@dataclasses.dataclass(frozen=True)
class Sampler:
  """Shuffled batches without state: step -> row indices.

  The rows of step t are places t * batch_size ... of an endless sequence of
  permutations, one an epoch. So a batch may span two epochs, no row is ever
  dropped, each is seen once an epoch, and to resume needs only the step. The
  permutations come from raw Philox output, which numpy keeps the same across
  its versions and machines.

  Attributes:
    n: rows.
    batch_size: rows a step, over all hosts.
    seed: chooses the permutations.
  """

  n: int
  batch_size: int
  seed: int

  def __post_init__(self) -> None:
    """Checks the sizes.

    Raises:
      UserError: for a batch that is empty or larger than the data, or a
        negative seed.
    """
    if self.seed < 0:
      raise UserError(f"the seed must be 0 or more, not {self.seed}")
    if not 1 <= self.batch_size <= self.n:
      raise UserError(
        f"a batch of {self.batch_size} cannot be taken from {self.n} rows; "
        f"choose a batch size from 1 to {self.n}"
      )

  def indices(self, step: int) -> np.ndarray:
    """int64 [batch_size], the rows of a step (from 0)."""
    places = np.arange(self.batch_size) + step * self.batch_size
    epochs = places // self.n
    found = np.empty(self.batch_size, np.int64)
    for epoch in np.unique(epochs):
      here = epochs == epoch
      order = permutation(self.n, self.seed, int(epoch))
      found[here] = order[places[here] % self.n]
    return found

  def parts(self, picked: np.ndarray) -> dict[str, np.ndarray]:
    """Source -> mask of the rows that are from it; {} of one source."""
    del picked
    return {}

  def epoch(self, step: int) -> float:
    """Epochs completed before a step, with the fraction."""
    return step * self.batch_size / self.n


@functools.lru_cache(maxsize=32)
def permutation(n: int, seed: int, epoch: int, stream: int = 0) -> np.ndarray:
  """The order of n rows in an epoch, int64 [n]; `stream` makes others."""
  entropy = [seed, epoch, stream] if stream else [seed, epoch]
  bits = np.random.Philox(np.random.SeedSequence(entropy))
  order = np.argsort(bits.random_raw(n), kind="stable")
  order.flags.writeable = False
  return order


def batch(rows: TokenRows, indices: np.ndarray) -> Batch:
  """Makes the batch of some rows: numpy arrays, always of one shape.

  Args:
    rows: the data.
    indices: int [B].

  Raises:
    UserError: where the rows' P or T is shorter than a sequence.
  """
  x, x_mask = _padded(rows, "prompt", rows.prompt_index[indices])
  y, y_mask = _padded(rows, "completion", rows.completion_index[indices])

  def at(column: np.ndarray | None) -> np.ndarray | None:
    return None if column is None else column[indices]

  return Batch(
    prompts=x,
    prompt_mask=x_mask,
    completions=y,
    completion_mask=y_mask,
    weight=rows.weight[indices],
    rewards=at(rows.rewards),
    labels=at(rows.labels),
    ref_logps=at(rows.ref_logps),
    behaviour_logps=at(rows.behaviour_logps),
    behaviour_token_logps=_by_token(
      rows.behaviour_token_logps,
      at(rows.behaviour_index),
      rows.completion_length,
    ),
    ref_token_logps=_by_token(
      rows.ref_token_logps,
      rows.completion_index[indices],
      rows.completion_length,
    ),
    token_rewards=_by_token(
      rows.token_rewards, at(rows.mark_index), rows.completion_length
    ),
    token_weights=_by_token(
      rows.token_weights, at(rows.mark_index), rows.completion_length
    ),
    margins=at(rows.margins),
    ref_prefix_logps=at(rows.ref_prefix_logps),
  )


def _by_token(
  logged: Ragged | None, index: np.ndarray | None, length: int
) -> np.ndarray | None:
  """float32 [B, K, T], 0 behind the tokens; None where there are none.

  Args:
    logged: numbers of the tokens of sequences.
    index: int [B, K], which of them.
    length: T.
  """
  if logged is None or index is None:
    return None
  return logged.padded(index, length, 0.0)[0]


def _padded(
  rows: TokenRows, noun: str, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  ragged = rows.prompts if noun == "prompt" else rows.completions
  length = rows.prompt_length if noun == "prompt" else rows.completion_length
  longest = int(ragged.lengths[indices].max())
  if longest > length:
    raise UserError(
      f"a {noun} of {longest} tokens does not fit {noun}_length {length}; "
      f"tokenize with max_{noun}={length} to cut it"
    )
  return ragged.padded(indices, length, rows.pad_id)


def eval_batches(
  rows: TokenRows, batch_size: int, mine: np.ndarray | None = None
) -> Iterator[Batch]:
  """Yields every row once, in order; the last batch is filled up.


  The filling repeats the last row, with weight 0: it holds real tokens.

  Args:
    rows: the data.
    batch_size: rows of a batch, over all hosts.
    mine: int, which rows of each batch to make; default: all. (See
      `offalign.distributed.sharding.local_rows`.)

  Raises:
    UserError: for a batch size below 1.
  """
  for indices, weight in eval_rows(rows, batch_size):
    if mine is not None:
      indices, weight = indices[mine], weight[mine]
    yield dataclasses.replace(batch(rows, indices), weight=weight)


def eval_rows(
  rows: TokenRows, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Which rows `eval_batches` takes, int [B], and their weights, [B].

  Raises:
    UserError: for a batch size below 1.
  """
  if batch_size < 1:
    raise UserError(f"the batch size must be at least 1, not {batch_size}")
  for start in range(0, len(rows), batch_size):
    places = np.arange(start, start + batch_size)
    indices = np.minimum(places, len(rows) - 1)
    real = places < len(rows)
    yield indices, np.where(real, rows.weight[indices], np.float32(0))


def next_valid(weight: Any, xp: Any = np) -> Any:
  """For each row with weight, the next such row, cyclically.

  With two or more rows of weight no row is its own successor, whatever
  padding lies between them: a derangement. Rows without weight map to
  themselves.

  Args:
    weight: [B].
    xp: numpy, or jax.numpy inside a compiled function.

  Returns:
    int [B] row indices.
  """
  valid = weight > 0
  order = xp.argsort(~valid, stable=True)  # rows with weight first
  place = xp.cumsum(valid) - 1
  count = xp.maximum(valid.sum(), 1)
  return xp.where(valid, order[(place + 1) % count], xp.arange(len(weight)))
