"""Rows that are in memory: a list of dicts, or a `datasets.Dataset`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from offalign.data.reading.nulls import without_filling
from offalign.errors import UserError

_CHUNK = 1000  # rows of a Dataset that are Python objects at a time

Source = str | Path | Sequence[Mapping[str, Any]] | Any
"""A path, or a list of dicts, or a `datasets.Dataset`."""


class Rows(str):
  """A data path that stands for rows in memory: its text is their name.

  It goes wherever a path goes, is written to run.json as its name, and does
  not copy the rows.

  Attributes:
    rows: a sequence of dicts, or a `datasets.Dataset`.
  """

  rows: Any

  def __new__(cls, name: str, rows: Any) -> "Rows":
    """Names rows.

    Args:
      name: what messages call them, such as "the list".
      rows: a sequence of dicts, or a `datasets.Dataset`.

    Raises:
      UserError: where it is neither.
    """
    made = super().__new__(cls, name)
    made.rows = _checked(rows)
    return made

  def __deepcopy__(self, memo: dict[int, Any]) -> "Rows":
    return self

  @property
  def columns(self) -> tuple[str, ...] | None:
    """Columns that every row has; None for a list: rows have their own keys."""
    return tuple(self.rows.column_names) if _is_dataset(self.rows) else None

  def items(self) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the number of each row, from 0, and the row.

    Raises:
      UserError: for a row that is no dict.
    """
    if _is_dataset(self.rows):
      table, number = self.rows.with_format("arrow"), 0
      for part in table.iter(_CHUNK):
        for row in part.to_pylist():
          yield number, without_filling(row)
          number += 1
      return
    for number, row in enumerate(self.rows):
      if not isinstance(row, Mapping):
        raise UserError(
          f"row {number} of {self} is no dict, but {str(row)[:40]!r}: give "
          "dicts such as {'prompt': ..., 'completion': ..., 'label': True}"
        )
      yield number, {str(key): _plain(value) for key, value in row.items()}


def as_path(source: Source, prefix: str = "the") -> str:
  """A path as it is, or rows in memory as a path that stands for them.

  >>> as_path("log.jsonl"), as_path([{"prompt": "Hi", "completion": "Hello"}])
  ('log.jsonl', 'the list')

  Args:
    source: a path, a list of dicts or a `datasets.Dataset`.
    prefix: the first word, or words, of the name of rows in memory.

  Raises:
    UserError: for anything else.
  """
  if isinstance(source, Rows):
    return source
  if isinstance(source, str | Path):
    return str(source)
  noun = "Dataset" if _is_dataset(source) else "list"
  return Rows(f"{prefix} {noun}", source)


def _checked(rows: Any) -> Any:
  if _is_dataset(rows) or isinstance(rows, list | tuple):
    return rows
  if _is_of(rows, "DatasetDict", "IterableDatasetDict"):
    names = ", ".join(rows)
    raise UserError(
      f"the data is a {type(rows).__name__} of the splits {names}: give one "
      f"of them, such as data[{next(iter(rows), 'train')!r}]"
    )
  name = type(rows).__name__
  cure = {
    "DataFrame": "give data.to_dict('records'), or data.to_dicts() of polars",
    "Table": "give data.to_pylist(), or datasets.Dataset(data)",
    "dict": "give the list of rows, one dict each",
  }.get(name, "of something that can be gone through once, give list(...)")
  raise UserError(
    f"data is a path, a list of dicts or a datasets.Dataset, not {name}; {cure}"
  )


def _is_dataset(rows: Any) -> bool:
  return _is_of(rows, "Dataset")


def _is_of(rows: Any, *names: str) -> bool:
  """Whether a source is of a class of `datasets`; does not import it."""
  return any(
    cls.__module__.partition(".")[0] == "datasets" and cls.__name__ in names
    for cls in type(rows).__mro__
  )


def _plain(value: Any) -> Any:
  """A cell as JSON has it: numpy's numbers and arrays become Python's."""
  if isinstance(value, np.generic | np.ndarray):
    return value.tolist()
  if isinstance(value, Mapping):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  return value
