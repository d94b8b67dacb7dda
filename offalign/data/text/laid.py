"""Prompts as tokens before they are cut, of which few are in memory."""

import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from offalign.data.reading.records import Prompt
from offalign.data.text.boundary import Laid
from offalign.data.text.ragged import Ragged
from offalign.data.text.spool import Spool


class LaidPrompts:
  """A sequence of `Laid`, made again each time that one is asked for.

  A million of them as objects would take more than their texts.
  """

  def __init__(self, prompts: Sequence[Prompt], folder: Path | None):
    """Holds none yet.

    Args:
      prompts: which `add` lays, in order.
      folder: see `Spool`.
    """
    self._prompts = prompts
    self._spool = Spool(folder)
    self._bodies: Ragged | None = None
    self._texts: list[str | None] = []
    # What is before and after a body is the same for most prompts.
    self._around: list[tuple[np.ndarray, np.ndarray]] = []
    self._numbers: dict[tuple[bytes, bytes], int] = {}
    self._which = array.array("q")

  def add(self, laid: Sequence[Laid]) -> None:
    """Adds the next prompts."""
    self._spool.add([at.body for at in laid])
    for at in laid:
      self._texts.append(at.text)
      key = at.before.tobytes(), at.after.tobytes()
      number = self._numbers.setdefault(key, len(self._around))
      if number == len(self._around):
        self._around.append((at.before, at.after))
      self._which.append(number)

  def seal(self) -> None:
    """Ends the adding; from here on prompts can be asked for."""
    self._bodies = self._spool.done()

  def release(self) -> None:
    """See `Ragged.release`."""
    if self._bodies is not None:
      self._bodies.release()

  def __len__(self) -> int:
    return len(self._texts)

  def __getitem__(self, q: int) -> Laid:
    assert self._bodies is not None
    before, after = self._around[self._which[q]]
    return Laid(
      self._prompts[q], before, self._bodies[q], after, self._texts[q]
    )

  def __iter__(self) -> Iterator[Laid]:
    for q in range(len(self)):
      yield self[q]
