"""One process trains in a run folder at a time: a lock on a file in it.

The kernel takes the lock back when its process ends, however it ends, so that a
run that was killed is never locked out of its own folder. The file stays; what
it says is for the sentence of the one that is refused.
"""

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from offalign.distributed import hosts
from offalign.errors import UserError, option
from offalign.files import writing

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None  # type: ignore[assignment]

FILE = "lock"
"""The file in the run folder."""


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """Keeps others from training in a folder; the first process locks for all.

  A file system without locks is said, and no mistake.

  Args:
    folder: the run folder, which exists.

  Raises:
    UserError: in every process, where another run has it.
  """
  file, refusal = None, None
  if hosts.is_first():
    try:
      file = _take(folder)
    except UserError as error:
      refusal = error
  try:
    if hosts.anywhere(refusal is not None):
      raise refusal or UserError(_sentence(folder))
    yield
  finally:
    if file is not None:
      os.close(file)


def check(folder: pathlib.Path) -> None:
  """Refuses a folder in use, before anything is read; writes nothing.

  Raises:
    UserError: where another run has it.
  """
  if hosts.is_first() and (folder / FILE).exists():
    file = _take(folder, quietly=True)
    if file is not None:
      os.close(file)


def _take(folder: pathlib.Path, *, quietly: bool = False) -> int | None:
  """The locked file; None where there are no locks."""
  path = folder / FILE
  try:
    if fcntl is None:
      raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  except OSError as error:
    if quietly:
      return None
    if fcntl is None:
      _without(folder, error)
      return None
    with writing(path):
      raise
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    os.close(file)
    if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
      raise UserError(_sentence(folder)) from None
    if not quietly:
      _without(folder, error)
    return None
  if not quietly:
    with writing(path):
      os.ftruncate(file, 0)
      os.write(file, json.dumps(_self()).encode() + b"\n")
  return file


def _without(folder: pathlib.Path, error: OSError) -> None:
  hosts.say(
    f"warning: {folder} is on a file system without locks ({error.strerror}), "
    "so a second run in it would not be refused: start none"
  )


def _self() -> dict[str, str | int]:
  now = datetime.datetime.now().astimezone()
  return {
    "pid": os.getpid(),
    "host": socket.gethostname(),
    "since": now.isoformat(" ", "seconds"),
  }


def _sentence(folder: pathlib.Path) -> str:
  who = "another process"
  with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
    said = json.loads((folder / FILE).read_text(encoding="utf-8"))
    who = f"process {said['pid']} on {said['host']}, since {said['since']}"
  return (
    f"{folder} is in use: {who}, trains in it. Wait for its end, or stop it, "
    f"or name another {option('out')}"
  )
