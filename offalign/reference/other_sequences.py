"""Reference log-probs of mismatched pairs (KTO) and of prefixes (LD-DPO).

A loss may need more of the reference than `ref_logps`: KTO's KL term needs
the prompts of a batch with the completions of other rows, LD-DPO needs the
beginnings of completions. These sequences are known before the first step, so
they are scored along with the rows' own completions, and training holds no
reference weights.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from offalign.data import TokenRows
from offalign.data.batches.batch import next_valid
from offalign.data.text.ragged import Ragged
from offalign.types import Batch

Score = Callable[[TokenRows, str], TokenRows]
"""(rows, their description for the progress bar) -> rows with `ref_logps`."""


def sequences(
  rows: TokenRows, prompts: np.ndarray, completions: list[np.ndarray]
) -> TokenRows:
  """Makes rows of one completion each, without feedback.

  Args:
    rows: the rows that the prompts are taken from.
    prompts: int [M], indices into the distinct prompts of `rows`.
    completions: M token arrays.
  """
  each = np.arange(len(prompts))
  return dataclasses.replace(
    rows.unique(),
    completions=Ragged.of(completions),
    completion_prompt=prompts,
    prompt_index=prompts,
    completion_index=each[:, None],
    weight=np.ones(len(each), np.float32),
  )


def with_prefixes(
  rows: TokenRows, wanted: np.ndarray, score: Score
) -> TokenRows:
  """Adds `ref_prefix_logps` to rows: log-probs of cut completions.

  They are known before training, since the log-prob of a completion's first
  tokens does not depend on the tokens after them.

  Args:
    rows: N rows.
    wanted: int, the rows that will be used; the others get NaN.
    score: scores sequences under the reference.
  """
  index = rows.completion_index[wanted]
  shortest = rows.completions.lengths[index].min(axis=1)
  found = score(
    sequences(
      rows,
      np.repeat(rows.prompt_index[wanted], index.shape[1]),
      [
        rows.completions[u][:length]
        for group, length in zip(index, shortest, strict=True)
        for u in group
      ],
    ),
    "beginnings of completions",
  )
  logps = np.full(rows.completion_index.shape, np.nan, np.float32)
  if found.ref_logps is not None:
    logps[wanted] = found.ref_logps.reshape(index.shape)
  return dataclasses.replace(rows, ref_prefix_logps=logps)


class Mismatched:
  """Reference log-probs of prompts with the completions of other rows."""

  def __init__(
    self,
    rows: TokenRows,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    score: Score,
  ):
    """Scores every mismatched pair that the batches will need.

    Args:
      rows: the data.
      batches: rows [B] and weights [B] of every batch to come.
      score: scores sequences under the reference.
    """
    self._rows = rows
    pairs = [self._pairs(*batch).ravel() for batch in batches]
    empty = np.zeros(0, np.int64)
    self._codes = np.unique(np.concatenate(pairs)) if pairs else empty
    self._logps = np.zeros(0, np.float32)
    if len(self._codes):
      prompts, completions = np.divmod(self._codes, len(rows.completions))
      tokens = [rows.completions[u] for u in completions]
      found = score(
        sequences(rows, prompts, tokens), "mismatched prompts and completions"
      )
      assert found.ref_logps is not None
      self._logps = found.ref_logps[:, 0]

  def _pairs(self, indices: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Numbers the (prompt, completion) pairs of a batch, [B, K]."""
    other = indices[next_valid(weight)]
    prompts = self._rows.prompt_index[indices][:, None]
    return (
      prompts * len(self._rows.completions)
      + (self._rows.completion_index[other])
    )

  def onto(
    self,
    batch: Batch,
    indices: np.ndarray,
    weight: np.ndarray,
    mine: np.ndarray | slice = slice(None),
  ) -> Batch:
    """Adds `ref_mismatched_logps` to a batch.

    Args:
      batch: the rows of the global batch that this process has.
      indices: [B], the rows of the whole global batch.
      weight: [B], the weights of the whole global batch.
      mine: which of the B rows `batch` holds; default: all.
    """
    pairs = self._pairs(indices, weight)[mine]
    places = np.searchsorted(self._codes, pairs)
    return dataclasses.replace(batch, ref_mismatched_logps=self._logps[places])
