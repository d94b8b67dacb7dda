"""Reading damaged checkpoints: one sentence, whatever orbax makes of them.

Orbax and tensorstore raise many kinds of exceptions for a damaged file. They
read its arrays at the same time, and where one cannot be read, the others
report to an event loop that is closed by then: a traceback each, in threads
whose exceptions nobody can catch.
"""

import contextlib
import logging
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import jax

from offalign.errors import UserError

# Begin the message of a read that failed though the files may be whole.
_PASSING = (
  "PERMISSION_DENIED",
  "UNAVAILABLE",
  "RESOURCE_EXHAUSTED",
  "DEADLINE_EXCEEDED",
)


class Damaged(UserError):
  """The files of a checkpoint cannot be read; an older one perhaps can."""


@contextlib.contextmanager
def opening(folder: pathlib.Path) -> Iterator[None]:
  """Has what goes wrong with a folder of checkpoints said in one sentence.

  Args:
    folder: of the checkpoints.

  Raises:
    UserError: naming the folder, for what orbax reads of every checkpoint.
  """
  try:
    yield
  except (ValueError, TypeError, KeyError, RecursionError) as error:
    raise UserError(
      f"{folder} has a checkpoint whose _CHECKPOINT_METADATA is damaged "
      f"({_reason(error)}); remove its folder to go on from the others"
    ) from error


@contextlib.contextmanager
def reading(folder: pathlib.Path, step: int | None) -> Iterator[None]:
  """Has what goes wrong in a checkpoint said in one sentence.

  Args:
    folder: of the checkpoints.
    step: of the one that is read.

  Raises:
    Damaged: naming the checkpoint, for whatever exception.
    UserError: likewise, where the files may be whole all the same.
  """
  try:
    with quietly():
      yield
  except (UserError, MemoryError, jax.errors.JaxRuntimeError):
    raise  # nothing that the files say
  except Exception as error:  # damage takes many forms
    raise (UserError if _is_passing(error) else Damaged)(
      f"the checkpoint at step {step} in {folder} cannot be read "
      f"({_reason(error)}); remove its folder to go on from the one before"
    ) from error


def _is_passing(error: Exception) -> bool:
  """Whether a read failed for another reason than what the files hold."""
  if isinstance(error, OSError):
    missing = FileNotFoundError | NotADirectoryError | IsADirectoryError
    return not isinstance(error, missing)
  return str(error).startswith(_PASSING)


def _reason(error: Exception) -> str:
  return str(error).split("\n")[0][:200] or type(error).__name__


@contextlib.contextmanager
def quietly() -> Iterator[None]:
  """Keeps asyncio from logging the futures of a read that fails.

  They may be logged after the read has failed, so the filter then stays. What
  threads print otherwise, `noise.silence` holds back.
  """
  logger = logging.getLogger("asyncio")
  logger.addFilter(_not_retrieved)
  try:
    yield
  except BaseException:
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    raise
  logger.removeFilter(_not_retrieved)


def _not_retrieved(record: logging.LogRecord) -> bool:
  """Whether a line of asyncio's is of something else than our futures."""
  return "exception was never retrieved" not in record.getMessage()


def is_object(found: Any) -> bool:
  """Whether JSON is an object."""
  return isinstance(found, dict)


def are_metrics(found: Any) -> bool:
  """Whether JSON is a list of objects of numbers, as steps' metrics are."""
  return isinstance(found, list) and all(
    isinstance(line, dict)
    and all(type(value) in (int, float) for value in line.values())
    for line in found
  )
