"""Rows of JSON: one object a line, or one array of objects.

Which of the two a file is, its first character tells, whatever its name.
"""

import codecs
import gzip
import json
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offalign.data.reading.records import Problem, quote
from offalign.data.reading.stream import LONGEST, Item, Stream
from offalign.errors import UserError
from offalign.files import repeated_key

_BOM = codecs.BOM_UTF8
_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PIECE = 1 << 16  # bytes of an array that are read at a time
_NEAR = 16  # characters: an error so near to the end may be a value cut off
_SPACE = re.compile(r"[ \t\r\n]*")


def stream(path: Path) -> Stream:
  """Rows of a file of JSON lines, or of a JSON array.

  Raises:
    UserError: where it is neither, or not UTF-8.
  """
  start = opening(path).removeprefix(_BOM).lstrip()
  if start[:1] == b"[" and re.match(rb"\[\s*(\{|\]|$)", start):
    return Stream(str(path), None, _array_items(path))
  first, more, _ = start.partition(b"\n")
  if first.strip() == b"{" and more:
    raise UserError(
      f"{path} holds an object over several lines, and not a list of rows or "
      "one row a line; write the list of rows alone"
    )
  return Stream(str(path), None, _line_items(path))


def opening(path: Path) -> bytes:
  """The first bytes of a file of text, gzipped or not.

  Raises:
    UserError: where it cannot be read, or is UTF-16 or UTF-32.
  """
  with _Open(path) as file:
    start: bytes = file.read(4096)
  wide = None
  if start.startswith(_WIDE):
    wide = "UTF-32"
  elif start.startswith(_UTF16) or b"\0" in start[:64]:
    wide = "UTF-16"
  if wide:
    raise UserError(
      f"{path} is {wide} and not UTF-8; convert it, as with: iconv -f {wide} "
      f"-t UTF-8 {path.name} > utf8-{path.name}"
    )
  return start


def decode(line: bytes) -> str:
  """Bytes as UTF-8 text.

  Raises:
    ValueError: saying which byte is none.
  """
  try:
    return line.decode("utf-8")
  except UnicodeDecodeError as error:
    raise ValueError(
      f"not valid UTF-8: byte 0x{line[error.start]:02x} at byte "
      f"{error.start} of the line; write the file anew as UTF-8"
    ) from None


class _Open:
  """Opens a file, gzipped or not; what fails becomes a sentence."""

  def __init__(self, path: Path):
    self._path = path

  def __enter__(self) -> Any:
    try:
      opener: Any = gzip.open if is_gzip(self._path) else open
      self._file = opener(self._path, "rb")
    except OSError as error:
      raise failed(self._path, error) from error
    return self._file

  def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
    self._file.close()
    if isinstance(error, EOFError | zlib.error | OSError):
      raise failed(self._path, error) from error


def is_gzip(path: Path) -> bool:
  """Whether the name of a file says that it is gzipped."""
  return path.name.lower().endswith(".gz")


def failed(path: Path, error: Exception) -> UserError:
  """The sentence about a file that cannot be opened or read."""
  if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
    return UserError(
      f"{path} is not a whole gzip file ({error}); fetch or write it again"
    )
  assert isinstance(error, OSError)
  return UserError(f"{path} cannot be read: {error.strerror or error}")


def _line_items(path: Path) -> Iterator[Item]:
  name = str(path)
  for number, line in enumerate(_lines(path)):
    if line is None:
      yield number, Problem(name, number, None, _TOO_LONG)
      continue
    line = line.removeprefix(_BOM)
    if not line.strip():
      yield number, None
      continue
    try:
      row = json.loads(decode(line), object_pairs_hook=_no_repeats)
      if not isinstance(row, dict):
        raise ValueError(f"not a JSON object but {_json_name(row)}")
    except json.JSONDecodeError as error:
      cut = "" if line.endswith(b"\n") else "; the file ends here, mid-line"
      reason = error.msg.removesuffix(" at")
      what = f"not valid JSON: {reason} at character {error.pos}{cut}"
    except RecursionError:
      what = "JSON nested too deeply"
    except ValueError as error:
      what = str(error)
    else:
      yield number, row
      continue
    yield number, Problem(name, number, None, what)


_TOO_LONG = (
  f"longer than {LONGEST >> 20} MiB, which is no row of feedback; split or "
  "remove it"
)


def _lines(path: Path) -> Iterator[bytes | None]:
  """Yields the lines of a file, gzipped or not; None for one too long."""
  with _Open(path) as file:
    while line := file.readline(LONGEST):
      if len(line) < LONGEST or line.endswith(b"\n"):
        yield line
        continue
      while (rest := file.readline(LONGEST)) and not rest.endswith(b"\n"):
        pass
      yield None


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; a repeated key would lose a value silently."""
  twice = repeated_key(pairs)
  if twice is not None:
    raise ValueError(f"key {quote(twice)} appears twice in one JSON object")
  # Each row would have names of its own.
  return {sys.intern(key): value for key, value in pairs}


def _json_name(value: object) -> str:
  return {
    list: "a list",
    str: "text",
    bool: "a boolean",
    type(None): "null",
  }.get(type(value), "a number")


def _array_items(path: Path) -> Iterator[Item]:
  """The items of a JSON array; no more than one of them is text at a time."""
  name, number = str(path), 0
  with _Open(path) as file:
    text = _Text(path, file)
    text.skip_space()
    text.take("[")
    text.skip_space()
    while text.peek() != "]":
      try:
        row = text.value()
        if not isinstance(row, dict):
          raise ValueError(f"not a JSON object but {_json_name(row)}")
        yield number, row
      except _Broken as error:
        raise UserError(
          f"{path} is not a whole JSON array: row {number}: {error}; write it "
          "again, or as JSON lines, where each bad row is found by itself"
        ) from None
      except ValueError as error:
        yield number, Problem(name, number, None, str(error))
      number += 1
      text.skip_space()
      if text.peek() == "]":
        break
      text.take(",", f" after row {number - 1}")
      text.skip_space()
    text.take("]")
    text.skip_space()
    if text.peek():
      raise UserError(
        f"{path} goes on after its JSON array ends; write one array, or one "
        "row a line"
      )


class _Broken(Exception):
  """An item of an array that no JSON can be read from."""


class _Text:
  """The text of a file, of which only what is not yet read is held."""

  def __init__(self, path: Path, file: Any):
    self._path, self._file = path, file
    self._decoder = codecs.getincrementaldecoder("utf-8")()
    self._json = json.JSONDecoder(object_pairs_hook=_no_repeats)
    self._held, self._at, self._whole = "", 0, False
    if self.peek() == "\ufeff":
      self._at += 1

  def _more(self, size: int) -> None:
    piece = self._file.read(size)
    self._whole = not piece
    try:
      more = self._decoder.decode(piece, final=self._whole)
    except UnicodeDecodeError as error:
      raise UserError(
        f"{self._path} is not valid UTF-8 ({error.reason}); write it anew as "
        "UTF-8"
      ) from None
    self._held = self._held[self._at :] + more
    self._at = 0

  def peek(self) -> str:
    """The next character; "" at the end."""
    while self._at == len(self._held) and not self._whole:
      self._more(_PIECE)
    return self._held[self._at : self._at + 1]

  def skip_space(self) -> None:
    """Goes to the next character that is no white space."""
    while self.peek():
      found = _SPACE.match(self._held, self._at)
      assert found is not None
      self._at = found.end()
      if self._at < len(self._held):
        return

  def take(self, what: str, where: str = "") -> None:
    """Goes past a character that has to come."""
    found = self.peek()
    if found != what:
      said = f"{quote(found)} comes" if found else "the file ends"
      raise UserError(
        f"{self._path} is not a whole JSON array: {said} where {what!r} "
        f"belongs{where}; write it again"
      )
    self._at += 1

  def value(self) -> Any:
    """The next value.

    Raises:
      _Broken: where it is no JSON.
      ValueError: for a key that is there twice.
    """
    size = _PIECE
    while True:
      try:
        value, end = self._json.raw_decode(self._held, self._at)
      except json.JSONDecodeError as error:
        near = error.pos + _NEAR >= len(self._held)
        if self._whole or not (near or "Unterminated" in error.msg):
          cut = "; the file ends there" if near else ""
          raise _Broken(f"{error.msg.removesuffix(' at')}{cut}") from None
      except RecursionError:
        raise _Broken("JSON nested too deeply") from None
      except ValueError:
        if not self._pass_over():
          raise _Broken("it cannot be told where it ends") from None
        raise
      else:
        # A number at the end of what is held may go on.
        if end < len(self._held) or self._whole:
          self._at = end
          return value
      if len(self._held) - self._at > LONGEST:
        raise _Broken(_TOO_LONG)
      self._more(size)
      size = min(2 * size, LONGEST)

  def _pass_over(self) -> bool:
    """Goes past a value that is JSON, but not one that is accepted."""
    try:
      _, self._at = json.JSONDecoder().raw_decode(self._held, self._at)
    except ValueError:
      return False
    return True
