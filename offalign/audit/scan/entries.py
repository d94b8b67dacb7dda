"""Entries of 64 bytes a completion, spilled to disk where there are many.

Statistics of a prompt (K, ties, repeats, the variance within it) need all of
its completions at once, which may be anywhere in a file. Completions are put
into 256 parts by prompt, and each part is read alone, so that memory does not
grow with the data and the numbers are exact.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from offalign.data.reading.records import Prompt

PARTS = 256
HELD = 1 << 14
"""Entries that are collected before they are written to disk."""
LIMIT = 1 << 20
"""Most entries of a part; those after them are counted and left out."""

ENTRY = np.dtype(
  [
    ("prompt", "u8"),  # hashes of the prompt,
    ("loose", "u8"),  # of it without case and white space,
    ("text", "u8"),  # of the completion,
    ("record", "u8"),  # and of the whole row
    ("row", "i8"),  # number of the file << 40 | row
    ("value", "f8"),  # reward; NaN = none
    ("words", "u4"),
    ("prompt_words", "u4"),
    ("side", "u4"),  # its number in the row; of a pair 0 = chosen
    ("label", "i4"),  # 0, 1; -1 = none
  ]
)
_ROW_BITS = 40


class Entry(NamedTuple):
  """One completion; the fields are those of `ENTRY`."""

  prompt: int
  loose: int
  text: int
  record: int
  row: int
  value: float
  words: int
  prompt_words: int
  side: int
  label: int


def digest(text: str) -> int:
  """Hashes text to 64 bits."""
  content = text.encode("utf-8", "surrogatepass")
  return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def flat(prompt: Prompt) -> str:
  """Flattens a prompt into one text, which no other prompt gives."""
  if isinstance(prompt, str):
    return prompt
  return "\x1e".join(f"{m.role}\x1f{m.content}" for m in prompt)


def loose(text: str) -> str:
  """Normalises case and white space, for loose comparison."""
  return " ".join(text.casefold().split())


def place(file: int, row: int) -> int:
  """Packs the numbers of a file and a row into one integer."""
  return file << _ROW_BITS | row


def file_and_row(where: int) -> tuple[int, int]:
  """Unpacks the numbers of file and row from `place`."""
  return where >> _ROW_BITS, where & (1 << _ROW_BITS) - 1


class Spill:
  """Entries on disk, in parts by prompt.

  Attributes:
    left_out: how many entries were dropped because their part was full.
  """

  def __init__(self, folder: pathlib.Path):
    """Uses `folder`, which is empty or absent, for this spill alone."""
    self.left_out = 0
    self._folder = folder
    self._held: list[Entry] = []
    self._sizes = np.zeros(PARTS, np.int64)
    self._memory: np.ndarray | None = None

  def add(self, entry: Entry) -> None:
    """Adds a completion."""
    self._held.append(entry)
    if len(self._held) >= HELD:
      self._write()

  def _write(self) -> None:
    self._folder.mkdir(parents=True, exist_ok=True)
    entries = np.array(self._held, ENTRY)
    self._held = []
    part = (entries["loose"] >> np.uint64(56)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    ends = np.cumsum(np.bincount(part, minlength=PARTS))[:-1]
    for i, inside in enumerate(np.split(entries[order], ends)):
      kept = inside[: LIMIT - self._sizes[i]]
      self.left_out += len(inside) - len(kept)
      self._sizes[i] += len(kept)
      if len(kept):
        with open(self._folder / f"{i:02x}", "ab") as file:
          file.write(kept.tobytes())

  def close(self) -> None:
    """Ends adding; few entries stay in memory as one part."""
    if not self._sizes.any():
      self._memory = np.array(self._held, ENTRY)
    elif self._held:
      self._write()
    self._held = []

  def parts(self) -> Iterator[np.ndarray]:
    """Yields the entries, a part at a time; no prompt is in two parts."""
    if self._memory is not None:
      yield self._memory
      return
    for i in np.flatnonzero(self._sizes):
      yield self.part(int(i))

  def part(self, i: int) -> np.ndarray:
    """Returns one of the `PARTS` parts."""
    if self._memory is not None:
      part = self._memory["loose"] >> np.uint64(56)
      return self._memory[part == np.uint64(i)]
    if not self._sizes[i]:
      return np.zeros(0, ENTRY)
    return np.fromfile(self._folder / f"{i:02x}", ENTRY)


def meet(one: Spill, other: Spill) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Pairs the parts of two spills that may hold the same prompts."""
  if one._memory is not None and other._memory is not None:
    yield one._memory, other._memory
    return
  for i in range(PARTS):
    yield one.part(i), other.part(i)


def runs(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Finds runs of neighbours that are equal in every key.

  Args:
    keys: [N] each, sorted alike.

  Returns:
    [G] the first of each run; [G] their lengths.
  """
  new = np.zeros(len(keys[0]), bool)
  new[:1] = True
  for key in keys:
    new[1:] |= key[1:] != key[:-1]
  starts = np.flatnonzero(new)
  return starts, np.diff(np.append(starts, len(new)))


def distinct(part: np.ndarray) -> np.ndarray:
  """Keeps the first entry of each completion of each prompt."""
  part = part[np.lexsort((part["row"], part["text"], part["prompt"]))]
  return part[runs(part["prompt"], part["text"])[0]]
