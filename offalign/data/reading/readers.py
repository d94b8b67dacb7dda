"""Rows of a local file, of memory, or of a data set of the Hugging Face hub.

`stream` gives the rows of one file one after another, as untyped dicts, and a
problem for each row that cannot even be parsed; `read` holds them all. forms.py
says what the dicts mean.
"""

import dataclasses
from pathlib import Path
from typing import Any

from offalign.data.reading import arrow_rows, csv_rows, json_rows, sqlite_rows
from offalign.data.reading.memory import Rows
from offalign.data.reading.records import Problem
from offalign.data.reading.sqlite_rows import Database
from offalign.data.reading.stream import Item as Item
from offalign.data.reading.stream import Stream
from offalign.errors import UserError
from offalign.progress import Progress


@dataclasses.dataclass(frozen=True)
class RawRows:
  """Rows of one file as they were read, not yet parsed into records.

  Attributes:
    name: the file, as the user wrote it.
    columns: every column or key that some row has, in order of appearance.
    rows: row number -> its dict, in order.
    problems: rows that could not be parsed; they are not in `rows`.
    blank_lines: lines of a JSON-lines file that hold nothing.
    typed: see `Stream`.
    nested: see `Stream`.
    notes: see `Stream`.
  """

  name: str
  columns: tuple[str, ...]
  rows: dict[int, dict[str, Any]]
  problems: tuple[Problem, ...] = ()
  blank_lines: int = 0
  typed: bool = True
  nested: bool = True
  notes: tuple[str, ...] = ()


def read(source: Path | Database | str) -> RawRows:
  """Reads what `stream` does, and holds all of it.

  Raises:
    UserError: where the file as a whole cannot be read, or has no rows.
  """
  found = stream(source)
  columns = dict.fromkeys(found.columns or ())
  rows: dict[int, dict[str, Any]] = {}
  problems: list[Problem] = []
  blank = 0
  with Progress(f"reading {found.name}", None, "row") as progress:
    for number, row in found.items:
      progress.update()
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
  return RawRows(
    found.name,
    tuple(columns),
    rows,
    tuple(problems),
    blank,
    found.typed,
    found.nested,
    found.notes,
  )


def stream(source: Path | Database | str) -> Stream:
  """Streams the rows of one file, table or data set, once.

  What is held at a time does not grow with the file, but with its longest
  rows.

  Args:
    source: a local file or a folder that `save_to_disk` wrote (a `Path`), a
      table of a `Database`, `Rows`, or a hub data set (a name).

  Raises:
    UserError: where the file as a whole cannot be read.
  """
  if isinstance(source, Rows):
    return Stream(source, source.columns, source.items())
  if isinstance(source, str):
    return arrow_rows.stream_hub(source)
  if isinstance(source, Database):
    return sqlite_rows.stream(source)
  if source.is_dir():
    return arrow_rows.stream_saved(source)
  name = source.name.lower().removesuffix(".gz")
  if name.endswith(".parquet"):
    return arrow_rows.stream_parquet(source)
  if name.endswith(".arrow"):
    return arrow_rows.stream_arrow(source)
  if name.endswith((".csv", ".tsv")):
    return csv_rows.stream(source)
  return json_rows.stream(source)
