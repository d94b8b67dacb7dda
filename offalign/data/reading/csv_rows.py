"""Rows of CSV and TSV files, read by pyarrow; every cell is text or null."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offalign.data.reading import json_rows
from offalign.data.reading.records import Problem, count, quote
from offalign.data.reading.stream import LONGEST, Item, Stream, check_distinct
from offalign.errors import UserError

_CHUNK = 1000  # rows that are Python objects at a time
_MOST_BAD = 100_000  # rows of other numbers of cells, of a block
# Stands for bytes that are no UTF-8; Unicode keeps it out of all text.
_BAD = "\ufdd2"
_NOT_UTF8 = "not valid UTF-8; write the file anew as UTF-8"
_SIGNS = {"\t": "a tab", ";": "';'", "|": "'|'"}


def stream(path: Path) -> Stream:
  """Rows of a table as text; its first line names the columns.

  A cell without a character is null, and one of two quotes is empty text.
  Rows count from 0, the line of names apart and empty lines left out.

  Raises:
    UserError: where it is no such table, or not UTF-8.
  """
  first = json_rows.opening(path).partition(b"\n")[0].decode("utf-8", "replace")
  tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
  sign = "\t" if tabs else ","
  notes: tuple[str, ...] = ()
  if not tabs and "," not in first:
    other = next((s for s in _SIGNS if s in first), None)
    if other:
      sign = other
      notes = (f"{path}: columns are separated by {_SIGNS[sign]}",)
  bad: list[tuple[int, str]] = []
  file, reader = _opened(path, sign, bad)
  columns = tuple(reader.schema.names)
  if any(_BAD in column for column in columns):
    raise UserError(f"a column's name in {path} is {_NOT_UTF8}")
  items = _items(path, file, reader, bad, sign)
  return Stream(
    str(path), columns, items, typed=False, nested=False, notes=notes
  )


def _opened(path: Path, sign: str, bad: list[tuple[int, str]]) -> Any:
  """(the file, its reader); rows that are no rows go into `bad`."""
  import pyarrow as pa
  import pyarrow.csv as pc

  def refuse(row: Any) -> str:
    if len(bad) >= _MOST_BAD:
      return "error"
    if _BAD in row.text:
      bad.append((row.number - 2, _NOT_UTF8))
      return "skip"
    what = f"{count(row.actual_columns, 'cell')} where {row.expected_columns}"
    bad.append((row.number - 2, f"{what} belong{_hint(row)}"))
    return "skip"

  def options(names: list[str]) -> dict[str, Any]:
    return {
      "read_options": pc.ReadOptions(use_threads=False, block_size=LONGEST),
      "parse_options": pc.ParseOptions(
        delimiter=sign, newlines_in_values=True, invalid_row_handler=refuse
      ),
      "convert_options": pc.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=False,
      ),
    }

  try:
    # The names are not known before, and a type is given by name.
    with _Utf8(path) as file:
      names = pc.open_csv(file, **options([])).schema.names
    check_distinct(str(path), tuple(names), "rename one in the first line")
    bad.clear()
    file = _Utf8(path)
    return file, pc.open_csv(file, **options(names))
  except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
    raise _failed(path, error) from error


class _Utf8:
  """A file with `_BAD` in place of bytes that are no UTF-8.

  pyarrow names rows of too few cells only where their text can be decoded.
  """

  def __init__(self, path: Path):
    opener: Any = gzip.open if json_rows.is_gzip(path) else open
    self._file = opener(path, "rb")
    self._decoder = codecs.getincrementaldecoder("utf-8")(errors=_marking)

  def __enter__(self) -> "_Utf8":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def read(self, size: int = -1) -> bytes:
    """The next bytes, about as many; b"" at the end alone."""
    while True:
      piece = self._file.read(size)
      text = self._decoder.decode(piece, final=not piece)
      if text or not piece:
        return text.encode("utf-8")

  def readable(self) -> bool:
    """As pyarrow asks."""
    return True

  @property
  def closed(self) -> bool:
    """Whether it is closed."""
    return bool(self._file.closed)

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def _mark(error: UnicodeError) -> tuple[str, int]:
  assert isinstance(error, UnicodeDecodeError)
  return _BAD, error.end


_marking = "offalign-csv-mark"
codecs.register_error(_marking, _mark)


def _hint(row: Any) -> str:
  """What may have made a row too short or too long."""
  text = row.text or ""
  if text.count('"') % 2:
    return ": a quote is opened and never closed"
  if row.actual_columns > row.expected_columns:
    return "; put text that has the separator in it between quotes"
  return ""


def _failed(path: Path, error: Exception) -> UserError:
  if not isinstance(error, ValueError):  # Arrow's own are ValueErrors
    return json_rows.failed(path, error)
  said = str(error)
  if "Empty CSV" in said or "header" in said:
    return UserError(f"{path} has no rows")
  if "Expected" in said:
    return UserError(
      f"{path}: rows by the hundred thousand do not have as many cells as the "
      f"first line names ({said.splitlines()[0][:100]}); look at its separator"
    )
  if "straddl" in said:
    return UserError(
      f"{path} has a row longer than {LONGEST >> 20} MiB, or a quote that is "
      "opened and never closed; correct it"
    )
  reason = said.splitlines()[0][:300].rstrip(".")
  return UserError(f"{path} is not a whole CSV file ({reason}); write it again")


def _items(
  path: Path, file: Any, reader: Any, bad: list[tuple[int, str]], sign: str
) -> Iterator[Item]:
  import pyarrow as pa

  name, number = str(path), 0

  def refused() -> Iterator[Item]:
    nonlocal number
    while bad and bad[0][0] <= number:
      yield number, Problem(name, number, None, bad.pop(0)[1])
      number += 1

  try:
    with file:
      for block in reader:
        for start in range(0, block.num_rows, _CHUNK):
          for row in block.slice(start, _CHUNK).to_pylist():
            yield from refused()
            yield number, _checked(name, number, row)
            number += 1
      yield from refused()
  except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
    raise _failed(path, error) from error


def _checked(
  name: str, number: int, row: dict[str, Any]
) -> dict[str, Any] | Problem:
  if any(_BAD in text for text in row.values() if text):
    return Problem(name, number, None, _NOT_UTF8)
  nul = next((c for c, text in row.items() if text and "\0" in text), None)
  if nul is not None:
    return Problem(name, number, None, f"a NUL byte in column {quote(nul)}")
  return row
