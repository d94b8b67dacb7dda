"""The batches of a run in packed rows, of a shape that holds all of them."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from offalign.data import TokenRows, batch
from offalign.data.batches.batch import next_valid
from offalign.data.batches.packing.fill import members, pack
from offalign.data.batches.packing.shape import Shape, choose, cost
from offalign.types import Batch


@dataclasses.dataclass(frozen=True)
class Cut:
  """How batches are cut over devices and microbatches.

  Attributes:
    shards: parts that the devices of all processes cut a batch into.
    microbatches: parts of each that are processed one after the other.
    width: of the model, see `shape.cost`.
  """

  shards: int
  microbatches: int
  width: int


class Packing:
  """Packs the batches of some rows, where that is cheaper than padding.

  Attributes:
    shape: of the rows of a group, see `Packed`.
    mismatched_shape: of the rows that hold prompts with the completions of
      other rows; None where they are not wanted.
    pays: whether packed rows are cheaper; if not, batches are left alone.
    processed: tokens that a model processes for each useful one, which are
      those of each prompt once and of its completions.
    padded: the same without packing.
  """

  def __init__(
    self,
    rows: TokenRows,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    cut: Cut,
    *,
    mismatched: bool,
  ):
    """Chooses the shapes.

    Args:
      rows: the data.
      batches: rows [B] and weights [B] of every batch to come.
      cut: how batches are cut.
      mismatched: whether a loss estimates a KL term from prompts with the
        completions of other rows.
    """
    self._rows, self._cut = rows, cut
    drawn = list(batches)
    own = [self._lengths(i, i, w) for i, w in drawn]
    self.shape, tokens = self._choose(own)
    self.mismatched_shape = None
    if mismatched:
      mixed = [self._lengths(i, i[next_valid(w)], w) for i, w in drawn]
      self.mismatched_shape, _ = self._choose(mixed)
    k, p, t = (
      rows.completion_index.shape[1],
      rows.prompt_length,
      rows.completion_length,
    )
    prompts = sum(len(picked) for picked, _ in drawn)
    padded = cost(cut.width, p + k * t, p * p + k * t * (p + t))
    groups = tokens // self.shape.tokens
    self.pays = groups * self.shape.cost(cut.width) < prompts * padded
    useful = sum(
      rows.count_tokens(picked[weight > 0]) for picked, weight in drawn
    )
    self.processed = tokens / useful
    self.padded = prompts * (p + k * t) / useful

  def _lengths(
    self, prompts: np.ndarray, completions: np.ndarray, weight: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """int [B] of prompts, and of their completions; as in `fill.lengths`."""
    rows = self._rows
    index = rows.completion_index[completions]
    prompt = rows.prompts.lengths[rows.prompt_index[prompts]]
    completion = np.maximum(rows.completions.lengths[index], 1).sum(axis=1)
    counts = weight > 0
    return (
      np.where(counts, prompt, 1).astype(np.int32),
      np.where(counts, completion, index.shape[1]).astype(np.int32),
    )

  def _choose(
    self, lengths: list[tuple[np.ndarray, np.ndarray]]
  ) -> tuple[Shape, int]:
    """The shape for batches of these lengths, and all tokens processed."""
    cut = self._cut
    groups = members(len(lengths[0][0]), cut.shards, cut.microbatches)
    prompts, completions = (
      np.stack(column)[:, groups].reshape(-1, groups.shape[1])
      for column in zip(*lengths, strict=True)
    )
    shape = choose(prompts, completions, cut.width)
    return shape, shape.tokens * len(prompts)

  def onto(
    self,
    host: Batch,
    picked: np.ndarray,
    weight: np.ndarray,
    mine: np.ndarray,
  ) -> Batch:
    """A batch with its packed tokens; the batch itself if that does not pay.

    Args:
      host: the rows `mine` of it.
      picked: int [B], the rows of the batch.
      weight: [B], the weights of those rows.
      mine: int, whole shards of it.
    """
    if not self.pays:
      return host
    rows, cut = self._rows, self._cut
    parts = {
      "shards": len(mine) * cut.shards // len(picked),
      "microbatches": cut.microbatches,
    }
    packed = pack(host, self.shape, **parts)
    mismatched = None
    if self.mismatched_shape is not None:
      following = next_valid(weight)
      mixed = dataclasses.replace(
        rows.unique(),
        prompt_index=rows.prompt_index[picked],
        completion_index=rows.completion_index[picked[following]],
        weight=weight[following],
      )
      mismatched = pack(batch(mixed, mine), self.mismatched_shape, **parts)
    return dataclasses.replace(
      host, packed=packed, packed_mismatched=mismatched
    )

  def __str__(self) -> str:
    """Describes the choice in a sentence."""
    shape, cut = self.shape, self._cut
    groups = cut.shards * cut.microbatches
    ratios = (
      f"{self.processed:.2f} tokens processed for each useful one, "
      f"{self.padded:.2f} without packing"
    )
    if not self.pays:
      return f"batches are left as they are, since it would not pay ({ratios})"
    return (
      f"{groups * shape.rows:,} rows of {shape.prompt:,} prompt and "
      f"{shape.completion:,} completion tokens a batch, {ratios}"
    )
