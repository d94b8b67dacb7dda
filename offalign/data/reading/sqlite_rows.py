"""Rows of a table or a query of an SQLite database, opened to read alone."""

import dataclasses
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offalign.data.reading.records import Problem, quote
from offalign.data.reading.stream import LONGEST, Item, Stream, check_distinct
from offalign.errors import UserError

_ALLOWED = {
  sqlite3.SQLITE_SELECT,
  sqlite3.SQLITE_READ,
  sqlite3.SQLITE_FUNCTION,
  sqlite3.SQLITE_RECURSIVE,
}
_PERIOD = 1_000_000  # steps of the database's machine between two looks
_MOST = 20_000  # such periods until the next row comes: some minutes
_LISTED = 20
_QUERY = re.compile(r"\s*(select|with|values)\b", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Database:
  """What is read of a database file; its text is "log.db::thumbs".

  Attributes:
    path: of the file.
    what: the name of a table or a view, or a SELECT statement.
  """

  path: Path
  what: str

  def __str__(self) -> str:
    return f"{self.path}::{self.what}"

  @property
  def name(self) -> str:
    """As a `Path` has it."""
    return f"{self.path.name}::{self.what}"

  def resolve(self) -> "Database":
    """The same with a path that begins at the root."""
    return Database(self.path.resolve(), self.what)


def is_query(what: str) -> bool:
  """Whether it is a statement, and not the name of a table."""
  return bool(_QUERY.match(what))


def tables(path: Path) -> list[str]:
  """The names of the tables and views of a database.

  Raises:
    UserError: where it is no database.
  """
  found = _Asked(path).names()
  return sorted(found)


def stream(source: Database) -> Stream:
  """Rows of a table or a query, counted from 0 in the order they come in.

  Raises:
    UserError: where there is no such table, or the query cannot be run.
  """
  asked = _Asked(source.path)
  names = asked.names()
  query = source.what
  if not is_query(query):
    if query not in names:
      listed = ", ".join(quote(n) for n in names[:_LISTED]) or "none"
      asked.close()
      raise UserError(
        f"{source.path} has no table {quote(query)} (its tables: {listed})"
      )
    escaped = query.replace('"', '""')
    query = f'SELECT * FROM "{escaped}"'
  columns, rows = asked.run(query, str(source))
  cure = "name one of them with AS"
  check_distinct(str(source), columns, cure)
  items = _items(str(source), columns, rows)
  return Stream(str(source), columns, items, nested=False)


class _NotText:
  """Bytes of a column of text that are no UTF-8."""


def _items(
  name: str, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]
) -> Iterator[Item]:
  for number, cells in enumerate(rows):
    if any(isinstance(cell, _NotText) for cell in cells):
      yield number, Problem(name, number, None, "not valid UTF-8")
    else:
      yield number, dict(zip(columns, cells, strict=True))


class _Asked:
  """A connection that reads and does nothing else."""

  def __init__(self, path: Path):
    self._path = path
    self._periods = 0
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
      self._db = sqlite3.connect(uri, uri=True)
      self._db.text_factory = _text
      self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
      # Views and defaults of the file may name functions; none with effects.
      self._db.execute("PRAGMA trusted_schema=OFF")
      self._db.execute("PRAGMA cache_size=-16384")
    except sqlite3.Error as error:
      raise self._failed(error) from error

  def close(self) -> None:
    self._db.close()

  def names(self) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
    try:
      found = [name for (name,) in self._db.execute(query)]
    except sqlite3.Error as error:
      raise self._failed(error) from error
    return [n for n in found if isinstance(n, str) and n[:7] != "sqlite_"]

  def run(
    self, query: str, name: str
  ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
    """The columns of a query, and its rows."""
    self._db.set_authorizer(_authorise)
    self._db.set_progress_handler(self._too_long, _PERIOD)
    try:
      cursor = self._db.execute(query)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
      raise self._failed(error, name) from error
    columns = tuple(str(each[0]) for each in cursor.description or ())
    return columns, self._rows(cursor, name)

  def _rows(self, cursor: Any, name: str) -> Iterator[tuple[Any, ...]]:
    try:
      for row in cursor:
        self._periods = 0
        yield row
    except (sqlite3.Error, OverflowError) as error:
      raise self._failed(error, name) from error
    finally:
      self._db.close()

  def _too_long(self) -> bool:
    self._periods += 1
    return self._periods > _MOST

  def _failed(self, error: Exception, name: str = "") -> UserError:
    said, where = str(error).rstrip("."), name or str(self._path)
    if "not a database" in said or "malformed" in said:
      said = f"{self._path} is no whole SQLite database ({said})"
      return UserError(f"{said}; fetch or write it again")
    if "not authorized" in said or "prohibited" in said:
      return UserError(
        f"{where} would do more than read ({said}); only SELECT is run"
      )
    if said == "interrupted":
      return UserError(
        f"{where} takes too long to give a row; make the query a table of its "
        "own, and read that"
      )
    if "locked" in said:
      said += ": another program is writing to it; copy the file, or wait"
    if "string or blob too big" in said:
      said = f"it has a cell longer than {LONGEST >> 20} MiB"
    return UserError(f"{where} cannot be read: {said}")


def _text(value: bytes) -> Any:
  try:
    return value.decode("utf-8")
  except UnicodeDecodeError:
    return _NotText()


def _authorise(action: int, one: Any, two: Any, *_: Any) -> int:
  if action == sqlite3.SQLITE_FUNCTION and str(two).lower() in (
    "load_extension",
    "readfile",
    "writefile",
    "edit",
    "fts3_tokenizer",
  ):
    return sqlite3.SQLITE_DENY
  return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
