"""Sequences of different lengths in one array."""

import dataclasses
import mmap
from collections.abc import Iterator, Sequence

import numpy as np

from offalign.data.reading.records import count

_BLOCK = 1 << 22  # tokens that are looked at together
_MANY = 1 << 14  # sequences after which their pages are let go


@dataclasses.dataclass(frozen=True)
class Ragged:
  """Sequences of different lengths, end to end.

  Attributes:
    tokens: int32 [total]; or float32, of what goes with tokens.
    offsets: int64 [U + 1]; sequence u is tokens[offsets[u] : offsets[u + 1]].
    mapped: the file that the tokens are in; None = they are in memory.
  """

  tokens: np.ndarray
  offsets: np.ndarray
  mapped: mmap.mmap | None = dataclasses.field(default=None, compare=False)

  @classmethod
  def of(
    cls, sequences: Sequence[np.ndarray], dtype: type[np.generic] = np.int32
  ) -> "Ragged":
    """Joins sequences."""
    lengths = np.array([len(s) for s in sequences], np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    tokens = np.concatenate([np.zeros(0, dtype), *sequences])
    return cls(tokens.astype(dtype), offsets)

  def __len__(self) -> int:
    return len(self.offsets) - 1

  def __getitem__(self, u: int) -> np.ndarray:
    u = range(len(self))[u]  # as a list takes it: -1 is the last
    return self.tokens[self.offsets[u] : self.offsets[u + 1]]

  def __iter__(self) -> Iterator[np.ndarray]:
    for u in range(len(self)):
      yield self[u]
      if u % _MANY == 0:
        self.release()

  def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
    """Yields all tokens in parts, each with the place of its first."""
    for start in range(0, len(self.tokens), _BLOCK):
      yield start, self.tokens[start : start + _BLOCK]
      self.release()

  def release(self) -> None:
    """Lets go of the pages of the file that are in this process's memory."""
    if self.mapped is not None and hasattr(self.mapped, "madvise"):
      self.mapped.madvise(mmap.MADV_DONTNEED)

  @property
  def lengths(self) -> np.ndarray:
    """int64 [U]."""
    return np.diff(self.offsets)

  def padded(
    self, indices: np.ndarray, length: int, pad_id: float
  ) -> tuple[np.ndarray, np.ndarray]:
    """Right-pads the sequences at `indices` to `length`.

    Args:
      indices: int, of any shape S.
      length: at least that of the longest.
      pad_id: fills the rest.

    Returns:
      [S, length] of the dtype of `tokens`, and its mask, bool, True on tokens.
    """
    start = self.offsets[indices][..., None]
    place = np.arange(length)
    lengths = self.offsets[indices + 1] - self.offsets[indices]
    mask = place < lengths[..., None]
    ids = self.tokens[np.where(mask, start + place, 0)]
    return np.where(mask, ids, ids.dtype.type(pad_id)), mask


def describe(
  noun: str,
  ragged: Ragged,
  digests: np.ndarray,
  cut: int,
  kept: str,
  whole: int | None = None,
) -> list[str]:
  """Says how long sequences are and how many were cut, in sentences.

  Args:
    noun: what a sequence is called.
    ragged: the sequences of distinct texts.
    digests: [U], a hash of the tokens of each.
    cut: how many were cut.
    kept: to which of their tokens: "last 30".
    whole: of completions, tokens of the longest before any cut.
  """
  lengths = ragged.lengths
  median, most = (int(np.quantile(lengths, q)) for q in (0.5, 0.95))
  longest = int(lengths.max())
  distinct = len(np.unique(digests))
  as_text = ""
  if distinct < len(ragged):
    as_text = f" ({len(ragged):,} as text)"
  sentences = [
    f"{count(distinct, f'distinct {noun}')}{as_text}: tokens median "
    f"{median:,}, 95% at most {most:,}, longest {longest:,}, "
    f"in all {int(lengths.sum()):,}"
  ]
  if cut:
    ending = ""
    if whole is not None:
      ending = (
        f", without EOS; the longest has {whole:,}: max_{noun}={whole} keeps "
        "all of it"
      )
    sentences.append(f"{count(cut, noun)} cut to the {kept} tokens{ending}")
    if whole is not None and cut == len(ragged):
      sentences.append(
        "warning: no completion keeps its end, so that nothing teaches the "
        "policy to stop"
      )
  if longest > 4 * most:
    sentences.append(
      f"note: every batch is padded to the longest {noun}; max_{noun}={most} "
      f"would cut one in twenty and be {longest / most:.0f} times shorter"
    )
  return sentences
