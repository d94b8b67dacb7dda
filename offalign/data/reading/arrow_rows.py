"""Rows of Parquet and Arrow files, of saved data sets, and of the hub's."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from offalign.data.reading.nulls import without_filling
from offalign.data.reading.records import Problem, quote
from offalign.data.reading.stream import Item, Stream, check_distinct
from offalign.errors import UserError

_CHUNK = 1000  # rows of a table that are Python objects at a time
_BUFFER = 1 << 20  # bytes of a Parquet column that are read at a time
STATE, SPLITS = "state.json", "dataset_dict.json"
"""What `save_to_disk` writes beside a data set, and beside several splits."""


class Unreadable:
  """A cell that has no Python object, such as a date of the year 300,000.

  Attributes:
    kind: the type of its column.
  """

  def __init__(self, kind: str):
    """Takes the name of the type."""
    self.kind = kind


def stream_parquet(path: Path) -> Stream:
  """Rows of a Parquet file, a chunk of them at a time.

  Raises:
    UserError: where it is none, or not whole.
  """
  import pyarrow as pa
  import pyarrow.parquet as pq

  def items() -> Iterator[Item]:
    try:
      with file:
        yield from _items(name, file.iter_batches(_CHUNK))
    except (pa.ArrowException, OSError) as error:
      raise _not_whole(path, "Parquet", error) from error

  name = str(path)
  try:
    file = pq.ParquetFile(path, buffer_size=_BUFFER)
    columns = tuple(file.schema_arrow.names)
  except (pa.ArrowException, OSError) as error:
    raise _not_whole(path, "Parquet", error) from error
  except UnicodeDecodeError as error:
    raise UserError(
      f"{path} has a column whose name is not valid UTF-8; write it anew with "
      "other names"
    ) from error
  check_distinct(name, columns)
  return Stream(name, columns, items())


def stream_arrow(path: Path) -> Stream:
  """Rows of an .arrow file, as `datasets` keeps them in its cache.

  Raises:
    UserError: where it is none, or not whole.
  """
  import datasets

  return _stream_data(
    str(path), lambda: datasets.Dataset.from_file(str(path)), "Arrow file"
  )


def stream_saved(folder: Path) -> Stream:
  """Rows of a folder that `Dataset.save_to_disk` wrote; no code is run.

  Raises:
    UserError: where it is none, or not whole.
  """
  import datasets

  try:
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    files = [file["filename"] for file in state["_data_files"]]
    outside = [file for file in files if Path(file).name != file]
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise UserError(
      f"{folder / STATE} does not say what files the saved data set has; save "
      "it again"
    ) from error
  if outside:
    raise UserError(
      f"{folder / STATE} names the file {quote(outside[0])}, which is not in "
      "its folder; save the data set again"
    )
  return _stream_data(
    str(folder),
    lambda: datasets.load_from_disk(str(folder)),
    "folder of save_to_disk",
  )


def stream_hub(name: str) -> Stream:
  """Rows of a split of a hub data set; no code of the data set is run.

  Raises:
    UserError: where it cannot be loaded, or has several splits.
  """
  import datasets

  repository, _, split = name.partition(":")
  try:
    data = datasets.load_dataset(repository, split=split or None)
  except Exception as error:
    raise UserError(
      f"nothing local is called {name!r}, and as a data set of the Hugging "
      f"Face hub it could not be loaded: {_reason(error)}"
    ) from error
  if isinstance(data, dict):
    if len(data) != 1:
      example = "train" if "train" in data else next(iter(data))
      raise UserError(
        f"data set {repository!r} has the splits {', '.join(data)}; say which, "
        f"as {repository}:{example}"
      )
    data = next(iter(data.values()))
  return _of_data(name, data)


def _stream_data(name: str, load: Any, what: str) -> Stream:
  """A data set that is on this machine, every buffer of which is checked."""
  try:
    data = load()
    found = _of_data(name, data)
  except UserError:
    raise
  except Exception as error:
    raise _not_whole(name, what, error) from error

  def items() -> Iterator[Item]:
    try:
      yield from found.items
    except UserError:
      raise
    except Exception as error:
      raise _not_whole(name, what, error) from error

  return Stream(name, found.columns, items())


def _of_data(name: str, data: Any) -> Stream:
  columns = tuple(data.column_names)
  check_distinct(name, columns)
  table = data.with_format("arrow")
  batches = (b for part in table.iter(_CHUNK) for b in part.to_batches())
  return Stream(name, columns, _items(name, batches))


def _not_whole(path: Path | str, kind: str, error: Exception) -> UserError:
  reason = _reason(error) if str(error) else "empty"
  noun = kind if " " in kind else f"{kind} file"
  return UserError(
    f"{path} is not a whole {noun} ({reason}); fetch or write it again"
  )


def _reason(error: Exception) -> str:
  first = (str(error) or type(error).__name__).splitlines()[0]
  return first[:300].rstrip(".")


def _items(name: str, batches: Iterable[Any]) -> Iterator[Item]:
  """The rows of Arrow record batches; finds those with invalid UTF-8."""
  import pyarrow as pa

  start = 0
  for batch in batches:
    try:
      # Of a file that is mapped into memory, nothing is checked before.
      batch.validate(full=True)
      rows = batch.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:
      if isinstance(error, pa.ArrowException):
        batch.validate()
      rows = [_row(batch, i) for i in range(batch.num_rows)]
    for i, row in enumerate(rows, start):
      if row is None:
        yield i, Problem(name, i, None, "not valid UTF-8")
      else:
        yield i, without_filling(row)
    start += batch.num_rows


def _row(batch: Any, i: int) -> dict[str, Any] | None:
  """A row of a batch that cannot be converted as a whole; None: no UTF-8."""
  import pyarrow as pa

  row: dict[str, Any] = {}
  for column in batch.schema.names:
    cell = batch.column(column).slice(i, 1)
    try:
      cell.validate(full=True)
      (row[column],) = cell.to_pylist()
    except UnicodeDecodeError:
      return None
    except (ValueError, OverflowError, pa.ArrowException) as error:
      if "UTF8" in str(error).replace("-", ""):
        return None
      row[column] = Unreadable(str(cell.type))
  return row
