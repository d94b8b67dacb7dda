"""SIGTERM and Ctrl-C: ending a run in good order when it is asked to.

A scheduler sends SIGTERM before it takes a machine away. Python runs the
handler between two instructions of the main thread, so the handler only takes
a note; the run looks at the note between two batches. The first Ctrl-C of a
program (`offalign.distributed.interrupts`) is noted in the same way while there
is something to keep.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from offalign.distributed import hosts, interrupts


class Stopped(Exception):
  """Raised when a run was asked to end; what it had computed is saved.

  Attributes:
    interrupted: whether Ctrl-C asked for it, in any process.
  """

  def __init__(self, sentence: str = "", *, interrupted: bool = False):
    """Takes what is to be said."""
    super().__init__(sentence)
    self.interrupted = interrupted


class Stop:
  """Listens for SIGTERM and Ctrl-C while it is open as a context manager.

  Outside a `with` block it never stops a run.

  Attributes:
    interrupted: whether Ctrl-C was noted in this process.
  """

  def __init__(self) -> None:
    self.interrupted = False
    self._asked = False
    self._before: Any = None
    self._open = contextlib.ExitStack()

  def __enter__(self) -> "Stop":
    if threading.current_thread() is threading.main_thread():
      self._before = signal.signal(signal.SIGTERM, self._note)
    if hosts.several():  # the others would wait for one that ends by itself
      self._open.enter_context(interrupts.noting(self._interrupt))
    return self

  def __exit__(self, *error: object) -> None:
    self._open.close()
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)

  @contextlib.contextmanager
  def keeping(self) -> Iterator[None]:
    """While there is something to save, Ctrl-C is noted for `check`."""
    with interrupts.noting(self._interrupt):
      yield

  @contextlib.contextmanager
  def saved(self) -> Iterator[None]:
    """While all is saved, Ctrl-C ends a run of one process at once.

    Raises:
      Stopped: where Ctrl-C was noted before.
    """
    if hosts.several():  # the others would wait for it
      yield
      return
    if self.interrupted:
      raise Stopped(interrupted=True)
    with interrupts.noting(None):
      yield

  def _note(self, number: int, frame: FrameType | None) -> None:
    self._asked = True

  def _interrupt(self) -> None:
    self._asked = self.interrupted = True

  def check(self) -> None:
    """Stops the run if asked to; every process calls it between batches.

    Raises:
      Stopped: in every process, if any of them was asked to end.
    """
    if hosts.anywhere(self._asked):
      raise Stopped(interrupted=hosts.anywhere(self.interrupted))
