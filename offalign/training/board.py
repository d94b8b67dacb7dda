"""TensorBoard's event files, written by the thread that trains.

tensorboardX's own writer hands events to a thread. Where the disk is full, that
thread dies with a traceback, and the run waits for it without end.
"""

import pathlib
import time

from offalign import lazy
from offalign.files import writing

with lazy.without("torch"):  # which tensorboardX imports for a type hint
  from tensorboardX.event_file_writer import EventsWriter
  from tensorboardX.proto.event_pb2 import Event, SessionLog
  from tensorboardX.summary import scalar

SECONDS = 30.0  # between two writes to the disk


class Board:
  """Writes scalars to a new event file in a folder."""

  def __init__(self, folder: pathlib.Path, purge_step: int):
    """Opens the file.

    Args:
      folder: of the event files.
      purge_step: what other files have of this step and later does not count.

    Raises:
      Unwritten: where it cannot be written.
    """
    self._folder, self._flushed = folder, time.monotonic()
    with writing(folder):
      folder.mkdir(parents=True, exist_ok=True)
      self._file = EventsWriter(str(folder / "events"))
    self._add(Event(step=purge_step, file_version="brain.Event:2"))
    start = SessionLog(status=SessionLog.START)
    self._add(Event(step=purge_step, session_log=start))

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Adds the metrics of a step.

    Raises:
      Unwritten: where the file cannot be written.
    """
    for name, value in metrics.items():
      self._add(Event(step=step, summary=scalar(name, value)))
    if time.monotonic() - self._flushed >= SECONDS:
      self._flushed = time.monotonic()
      with writing(self._folder):
        self._file.flush()

  def _add(self, event: Event) -> None:
    event.wall_time = time.time()
    with writing(self._folder):
      self._file.write_event(event)

  def close(self) -> None:
    """Writes what is left.

    Raises:
      Unwritten: where the file cannot be written.
    """
    with writing(self._folder):
      self._file.close()
