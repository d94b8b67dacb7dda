"""Files that are whole or as they were, and the word on those that fail."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from offalign.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The numbers of an OSError that says that the disk, or a quota, is full."""
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Unwritten(UserError):
  """A file cannot be written: the disk is full, or not to be written to."""


@contextlib.contextmanager
def writing(path: str | pathlib.Path) -> Iterator[None]:
  """Says which file cannot be written, and what to do.

  Args:
    path: of the file or folder that is written inside.

  Raises:
    Unwritten: in place of any OSError.
  """
  try:
    yield
  except OSError as error:
    raise Unwritten(unwritten(path, error)) from error


def unwritten(path: str | pathlib.Path, error: BaseException) -> str:
  """The sentence for a file that cannot be written.

  Args:
    path: of the file or folder.
    error: why; any error of a library that writes, too.
  """
  number = error.errno if isinstance(error, OSError) else None
  reason = os.strerror(number) if number else str(error) or repr(error)
  if "No space left" in reason:  # within a page of tensorstore's
    number = errno.ENOSPC
    reason = os.strerror(number)
  if number in FULL:
    cure = "make room on its disk"
  elif number in _CLOSED:
    cure = "make it writable"
  else:
    cure = "mend that"
  reason = reason.splitlines()[0][:200]
  return f"{path} cannot be written ({reason}): {cure}, then start again"


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Writes a file so that it is there whole or not at all.

  Raises:
    Unwritten: where it cannot be; the file is then as it was.
  """
  part = path.with_name(path.name + ".part")
  with writing(path):
    with part.open("w", encoding="utf-8") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    part.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """`write_atomically` for JSON, indented."""
  write_atomically(path, json.dumps(value, indent=1) + "\n")


def read_object(path: pathlib.Path, cure: str = "") -> dict[str, Any]:
  """Reads a file that holds one JSON object.

  Args:
    path: the file.
    cure: what to do where it does not; put at the end of the sentence.

  Raises:
    UserError: where it cannot be read, is no JSON, or no object; where a key
      comes twice, of which one value would be lost.
  """
  try:
    text = path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read ({error}){cure}") from None
  return parse_object(text, str(path), cure)


def parse_object(text: str, where: str, cure: str = "") -> dict[str, Any]:
  """`read_object` of text that was read already.

  Args:
    text: JSON.
    where: names it in the sentence.
    cure: see `read_object`.

  Raises:
    UserError: see `read_object`.
  """
  try:
    found = json.loads(text, object_pairs_hook=unique_keys)
  except RecursionError:
    raise UserError(f"{where} is not JSON (nested too deeply){cure}") from None
  except ValueError as error:
    raise UserError(f"{where} is not JSON ({error}){cure}") from None
  if not isinstance(found, dict):
    raise UserError(f"{where} does not hold a JSON object{cure}")
  return found


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; the `object_pairs_hook` of `json.loads`.

  Raises:
    ValueError: for a key that comes twice, of which a dict keeps one value.
  """
  twice = repeated_key(pairs)
  if twice is not None:
    raise ValueError(f"the key {twice!r:.80} comes twice")
  return dict(pairs)


def repeated_key(pairs: Iterable[tuple[str, Any]]) -> str | None:
  """The first key of a JSON object that was there before; None for none."""
  seen = set()
  for key, _ in pairs:
    if key in seen:
      return key
    seen.add(key)
  return None
