"""Collect tokens as they are made: in memory while few, then in a file.

The file has no name. It takes its room on a disk for as long as its tokens are
used, and is gone with the process, however that ends: so there is nothing to
remove, and nothing that another run could find, cut or mix up.
"""

import array
import contextlib
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from offalign.data.text.ragged import Ragged
from offalign.files import FULL, Unwritten, unwritten

MOST = 1 << 24
"""Bytes of tokens that are held in memory, at most."""


class Spool:
  """Sequences of tokens, of which only few are held in memory."""

  def __init__(self, folder: Path | None, most: int = MOST):
    """Holds nothing yet.

    Args:
      folder: on whose disk the file lies, perhaps not made yet; None = all is
        held in memory.
      most: bytes that are held in memory.
    """
    self._folder, self._most = folder, most
    self._held: list[np.ndarray] = []
    self._size = 0
    self._file: IO[bytes] | None = None
    self._lengths = array.array("q")

  def add(self, sequences: Sequence[np.ndarray]) -> None:
    """Adds sequences, int32.

    Raises:
      Unwritten: where the disk is full.
    """
    self._lengths.extend(map(len, sequences))
    joined = np.concatenate([np.zeros(0, np.int32), *sequences])
    self.fill(joined.astype(np.int32, copy=False))

  def fill(self, tokens: np.ndarray) -> None:
    """Adds tokens int32 [n] whose lengths `done` is given.

    Raises:
      Unwritten: where the disk is full.
    """
    self._held.append(tokens)
    self._size += tokens.nbytes
    if self._folder is None or (
      self._file is None and self._size <= self._most
    ):
      return
    with _writing(self._folder):
      if self._file is None:
        self._file = _nameless(self._folder)
      for part in self._held:
        self._file.write(part.tobytes())
    self._held = []

  def done(self, lengths: np.ndarray | None = None) -> Ragged:
    """All sequences; nothing can be added after that.

    Args:
      lengths: int64, of the sequences, where they were not added one by one.

    Raises:
      Unwritten: where the disk is full.
    """
    if lengths is None:
      lengths = np.frombuffer(self._lengths, np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    if self._file is None:
      tokens = np.concatenate([np.zeros(0, np.int32), *self._held])
      return Ragged(tokens, offsets)
    assert self._folder is not None
    with self._file as file:
      with _writing(self._folder):
        file.flush()
      mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Ragged(np.frombuffer(mapped, np.int32), offsets, mapped)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    where = f"a file for tokens, on the disk of {folder},"
    raise Unwritten(unwritten(where, error)) from error


def _nameless(folder: Path) -> IO[bytes]:
  """An open file on the disk of a folder that has no name there."""
  there = next(
    p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir()
  )
  try:
    return tempfile.TemporaryFile(dir=there)
  except OSError as error:
    if error.errno in FULL:
      raise
    # A folder that cannot be written to is refused where it is needed.
    return tempfile.TemporaryFile()
