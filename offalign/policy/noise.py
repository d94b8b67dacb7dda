"""What orbax's and tensorstore's threads print of errors that are raised too.

A checkpoint that cannot be written or read is one sentence of ours. Their
threads print the same error once more each, as pages of Python's stack.
"""

import functools
import logging
import sys
from types import TracebackType
from typing import Any

from absl import logging as absl_logging


@functools.cache
def silence() -> None:
  """Drops these from now on, and nothing else."""
  absl_logging.get_absl_logger().addFilter(_is_told)
  before: Any = sys.excepthook

  def excepthook(
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
  ) -> None:
    # Of a read that has failed already: its loop is closed.
    if kind is RuntimeError and str(error) == "Event loop is closed":
      return
    before(kind, error, trace)

  sys.excepthook = excepthook


def _is_told(record: logging.LogRecord) -> bool:
  """Whether a line is to be logged: not orbax's, of an exception."""
  return not (record.exc_info and "orbax" in record.pathname)
