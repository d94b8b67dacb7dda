"""A stream of rows: what every reader of a kind of file returns."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from offalign.data.reading.records import Problem, quote
from offalign.errors import UserError

Item = tuple[int, dict[str, Any] | Problem | None]
"""A row's number, and the row; or what is wrong with it; None: it is blank."""

LONGEST = 1 << 24
"""Bytes of one row of text; a longer one is no row of feedback, and would be
held in memory whole."""

MOST = 10_000
"""Columns of a table."""


@dataclasses.dataclass(frozen=True)
class Stream:
  """The rows of one file, to be gone through once.

  Attributes:
    name: the file, as the user wrote it.
    columns: what every row has; None in JSON lines, where each row has keys
      of its own.
    items: in order; raises UserError where the file turns out not to be
      whole.
    typed: False where all cells are text, as in CSV.
    nested: False where lists and objects are text too, written as JSON.
    notes: sentences on how the file was read.
  """

  name: str
  columns: tuple[str, ...] | None
  items: Iterator[Item]
  typed: bool = True
  nested: bool = True
  notes: tuple[str, ...] = ()


def check_distinct(name: str, columns: tuple[str, ...], cure: str = "") -> None:
  """Refuses two columns of one name, of which a row can hold only one.

  And more columns than a table of feedback can have.

  Args:
    name: of the file.
    columns: what it has.
    cure: what to do, put after a semicolon.

  Raises:
    UserError: naming the column.
  """
  if len(columns) > MOST:
    raise UserError(
      f"{name} has {len(columns):,} columns, and at most {MOST:,} are read; "
      "write those of the feedback alone"
    )
  met: set[str] = set()
  for column in columns:
    if column in met:
      raise UserError(
        f"{name} has two columns {quote(column)}; "
        f"{cure or 'rename or remove one of them'}"
      )
    met.add(column)
