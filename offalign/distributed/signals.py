"""SIGTERM: ending a run in good order when a scheduler asks for it.

A scheduler sends SIGTERM before it takes a machine away. Python runs the
handler between two instructions of the main thread, so the handler only takes
a note; the run looks at the note between two batches.
"""

import signal
import threading
from types import FrameType
from typing import Any

from offalign.distributed import hosts


class Stopped(Exception):
  """Raised when a run was asked to end; what it had computed is saved."""


class Stop:
  """Listens for SIGTERM while it is open as a context manager.

  Outside a `with` block it never stops a run.
  """

  def __init__(self) -> None:
    self._asked = False
    self._before: Any = None

  def __enter__(self) -> "Stop":
    if threading.current_thread() is threading.main_thread():
      self._before = signal.signal(signal.SIGTERM, self._note)
    return self

  def __exit__(self, *error: object) -> None:
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)

  def _note(self, number: int, frame: FrameType | None) -> None:
    self._asked = True

  def check(self) -> None:
    """Stops the run if asked to; every process calls it between batches.

    Raises:
      Stopped: in every process, if any of them was asked to end.
    """
    if hosts.anywhere(self._asked):
      raise Stopped
