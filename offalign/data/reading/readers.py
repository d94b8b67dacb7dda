"""Rows of a local file, of memory, or of a data set of the Hugging Face hub.

`stream` gives the rows of one file one after another, as untyped dicts, and a
problem for each row that cannot even be parsed; `read` holds them all. forms.py
says what the dicts mean.
"""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from offalign.data.reading.memory import Rows
from offalign.data.reading.nulls import without_filling
from offalign.data.reading.records import Problem
from offalign.errors import UserError

Item = tuple[int, dict[str, Any] | Problem | None]
"""A row's number, and the row; or what is wrong with it; None: it is blank."""

_CHUNK = 1000  # rows of a table that are Python objects at a time
_BUFFER = 1 << 20  # bytes of a Parquet column that are read at a time
_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class RawRows:
  """Rows of one file as they were read, not yet parsed into records.

  Attributes:
    name: the file, as the user wrote it.
    columns: every column or key that some row has, in order of appearance.
    rows: row number -> its dict, in order.
    problems: rows that could not be parsed; they are not in `rows`.
    blank_lines: lines of a JSON-lines file that hold nothing.
  """

  name: str
  columns: tuple[str, ...]
  rows: dict[int, dict[str, Any]]
  problems: tuple[Problem, ...] = ()
  blank_lines: int = 0


@dataclasses.dataclass(frozen=True)
class Stream:
  """The rows of one file, to be gone through once.

  Attributes:
    name: the file, as the user wrote it.
    columns: what every row has; None in JSON lines, where each row has keys
      of its own.
    items: in order; raises UserError where the file turns out not to be
      whole.
  """

  name: str
  columns: tuple[str, ...] | None
  items: Iterator[Item]


def read(source: Path | str) -> RawRows:
  """Reads a local file (a `Path`), `Rows`, or a hub data set (a name).

  Raises:
    UserError: where the file as a whole cannot be read, or has no rows.
  """
  found = stream(source)
  columns = dict.fromkeys(found.columns or ())
  rows: dict[int, dict[str, Any]] = {}
  problems: list[Problem] = []
  blank = 0
  for number, row in found.items:
    if row is None:
      blank += 1
    elif isinstance(row, Problem):
      problems.append(row)
    else:
      rows[number] = row
      if found.columns is None:
        columns.update(dict.fromkeys(row))
  if not rows and not problems:
    raise UserError(f"{found.name} has no rows")
  return RawRows(found.name, tuple(columns), rows, tuple(problems), blank)


def stream(source: Path | str) -> Stream:
  """Streams a local file (a `Path`), `Rows`, or a hub data set (a name).

  What is held at a time does not grow with the file, but with its longest
  rows.

  Raises:
    UserError: where the file as a whole cannot be read.
  """
  if isinstance(source, Rows):
    return Stream(source, source.columns, source.items())
  if isinstance(source, str):
    return _stream_hub(source)
  if source.name.endswith(".parquet"):
    return _stream_parquet(source)
  return Stream(str(source), None, _jsonl_items(source))


def _jsonl_items(path: Path) -> Iterator[Item]:
  name = str(path)
  for number, line in enumerate(_lines(path)):
    if number == 0:
      line = line.removeprefix(_BOM)
    if not line.strip():
      yield number, None
      continue
    try:
      row = json.loads(line.decode("utf-8"), object_pairs_hook=_no_repeats)
      if not isinstance(row, dict):
        raise ValueError(f"not a JSON object but {_json_name(row)}")
    except UnicodeDecodeError as error:
      what = (
        f"not valid UTF-8: byte 0x{line[error.start]:02x} at byte "
        f"{error.start} of the line"
      )
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


def _lines(path: Path) -> Iterator[bytes]:
  """Yields the lines of a file, gzipped or not."""
  opener: Any = gzip.open if path.name.endswith(".gz") else open
  try:
    with opener(path, "rb") as stream:
      yield from stream
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise UserError(
      f"{path} is not a whole gzip file ({error}); fetch or write it again"
    ) from error
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; refuses a repeated key, which loses a value."""
  row = dict(pairs)
  if len(row) < len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"key {twice!r} appears twice in one JSON object")
  return row


def _json_name(value: object) -> str:
  return {
    list: "a list",
    str: "text",
    bool: "a boolean",
    type(None): "null",
  }.get(type(value), "a number")


def _stream_parquet(path: Path) -> Stream:
  import pyarrow as pa
  import pyarrow.parquet as pq

  def items() -> Iterator[Item]:
    try:
      with file:
        yield from _arrow_items(name, file.iter_batches(_CHUNK))
    except (pa.ArrowException, OSError) as error:
      raise _not_parquet(path, error) from error

  name = str(path)
  try:
    file = pq.ParquetFile(path, buffer_size=_BUFFER)
    columns = tuple(file.schema_arrow.names)
  except (pa.ArrowException, OSError) as error:
    raise _not_parquet(path, error) from error
  except UnicodeDecodeError as error:
    raise UserError(
      f"{path} has a column whose name is not valid UTF-8; write it anew with "
      "other names"
    ) from error
  return Stream(name, columns, items())


def _not_parquet(path: Path, error: Exception) -> UserError:
  reason = str(error).splitlines()[0].rstrip(".") if str(error) else "empty"
  return UserError(
    f"{path} is not a whole Parquet file ({reason}); fetch or write it again"
  )


def _arrow_items(name: str, batches: Iterable[Any]) -> Iterator[Item]:
  """The rows of Arrow record batches; finds those with invalid UTF-8."""
  start = 0
  for batch in batches:
    try:
      yield from enumerate(map(without_filling, batch.to_pylist()), start)
    except UnicodeDecodeError:
      for i in range(start, start + batch.num_rows):
        try:
          (row,) = batch.slice(i - start, 1).to_pylist()
          yield i, without_filling(row)
        except UnicodeDecodeError:
          yield i, Problem(name, i, None, "not valid UTF-8")
    start += batch.num_rows


def _stream_hub(name: str) -> Stream:
  """Streams a split of a hub data set; runs no code of the data set."""
  import datasets

  repository, _, split = name.partition(":")
  try:
    data = datasets.load_dataset(repository, split=split or None)
  except Exception as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise UserError(
      f"nothing local is called {name!r}, and as a data set of the Hugging "
      f"Face hub it could not be loaded: {reason}"
    ) from error
  if isinstance(data, dict):
    if len(data) != 1:
      example = "train" if "train" in data else next(iter(data))
      raise UserError(
        f"data set {repository!r} has the splits {', '.join(data)}; say which, "
        f"as {repository}:{example}"
      )
    data = next(iter(data.values()))
  table = data.with_format("arrow")
  batches = (b for part in table.iter(_CHUNK) for b in part.to_batches())
  return Stream(name, tuple(data.column_names), _arrow_items(name, batches))
