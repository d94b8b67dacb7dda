"""Ending a run in good order when it is asked to, by SIGTERM.

A scheduler that takes a machine away sends it first. Python runs the handler
between two instructions of the main thread, so all it does is to take a note;
the run looks at it between two batches.
"""

import signal
import threading
from types import FrameType
from typing import Any

from offalign.distributed import hosts


class Stopped(Exception):
  """The run was asked to end, and what it had is kept."""


class Stop:
  """Whether the run was asked to end.

  As a context manager it listens to SIGTERM; without, nobody asks.
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
    """To be called by every process alike, between two batches.

    Raises:
      Stopped: in every process, if any of them was asked to end.
    """
    if hosts.anywhere(self._asked):
      raise Stopped
