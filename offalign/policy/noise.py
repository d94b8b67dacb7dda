"""What orbax's and tensorstore's threads print of errors that are raised too.

A checkpoint that cannot be written or read is one sentence of ours. Their
threads print the same error once more each, as pages of Python's stack.
"""

import functools
import logging
import sys
import traceback
import warnings
from typing import Any

from absl import logging as absl_logging

_LATE = ("Event loop is closed", "Encountered error while reading array")
"""What tensorstore's threads report after a read that has failed."""


@functools.cache
def silence() -> None:
  """Drops these from now on, and nothing else."""
  absl_logging.get_absl_logger().addFilter(_is_news)
  logging.getLogger("asyncio").addFilter(_is_news)
  before: Any = sys.unraisablehook

  def hook(said: "sys.UnraisableHookArgs") -> None:
    if not any(words in str(said.exc_value) for words in _LATE):
      before(said)

  sys.unraisablehook = hook
  # Of the writers that were not begun when another failed.
  warnings.filterwarnings(
    "ignore",
    r"coroutine '.*serialize.*' was never awaited",
    RuntimeWarning,
  )


def _is_news(record: logging.LogRecord) -> bool:
  """Whether a line is to be logged: not orbax's of an error that it raises."""
  text = record.pathname + record.getMessage()
  if record.exc_info:  # of a future that nobody waits for, by its stack alone
    stack = traceback.extract_tb(record.exc_info[2])
    return "orbax" not in text + "".join(frame.filename for frame in stack)
  return not ("Metadata file" in text and "orbax" in text)
