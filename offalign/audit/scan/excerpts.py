"""Excerpts: the first words of the rows that findings name."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from offalign.audit.findings import Finding
from offalign.data.reading import readers
from offalign.data.reading.columns import ABSENT, Entry
from offalign.data.reading.records import quote
from offalign.data.reading.sqlite_rows import Database
from offalign.errors import UserError

_EACH = 3  # places of a finding of which texts are shown
_LONG = 60  # characters of a cell
_CELLS = 4

Place = tuple[str, int]
"""The name of a file, and a row of it."""


def with_texts(
  findings: Sequence[Finding],
  files: Mapping[str, Path | Database | str],
  columns: Mapping[str, Sequence[str]],
) -> list[Finding]:
  """Adds the texts of the first rows that each finding names.

  The files are gone through once more, as far as the last of these rows.

  Args:
    findings: any.
    files: name of a file -> what the readers read.
    columns: name of a file -> the columns to show, keys inside them with dots.
  """
  wanted: dict[str, set[int]] = {}
  places = [[_place(w, files) for w in f.where[:_EACH]] for f in findings]
  for name, number in filter(None, (p for each in places for p in each)):
    wanted.setdefault(name, set()).add(number)
  met: dict[Place, str] = {}
  for name, rows in wanted.items():
    shown = columns.get(name, ())
    for number, row in _rows(files[name], rows):
      met[name, number] = _excerpt(row, shown)
  return [
    dataclasses.replace(
      found, texts=tuple(met.get(place, "") if place else "" for place in each)
    )
    for found, each in zip(findings, places, strict=True)
  ]


def _place(where: str, names: Iterable[str]) -> Place | None:
  for name in names:
    if where.startswith(f"{name}, row "):
      number = re.match(r"\d+", where[len(name) + 6 :])
      return (name, int(number[0])) if number else None
    memory = re.match(rf"row (\d+) of {re.escape(name)}", where)
    if memory:
      return name, int(memory[1])
  return None


def _rows(
  file: Path | Database | str, wanted: set[int]
) -> Iterable[tuple[int, dict[str, Any]]]:
  last = max(wanted)
  try:
    for number, row in readers.stream(file).items:
      if number in wanted and isinstance(row, dict):
        yield number, row
      if number >= last:
        return
  except UserError:  # said by a finding already
    return


def _excerpt(row: Mapping[str, Any], columns: Sequence[str]) -> str:
  cells = [(c, Entry("", c).find(row)) for c in columns or list(row)]
  cells = [(name, value) for name, value in cells if value is not ABSENT]
  return ", ".join(f"{name} {_short(value)}" for name, value in cells[:_CELLS])


def _short(value: Any) -> str:
  """A cell in few characters; a conversation by its last message."""
  if isinstance(value, list) and value and isinstance(value[-1], dict):
    last = value[-1]
    said = last.get("content", last.get("value"))
    if isinstance(said, str):
      return f"... {_short(said)}"
  if isinstance(value, str):
    cut = "..." if len(value) > _LONG else ""
    return f"{quote(value[:_LONG], _LONG)}{cut}"
  try:
    text = json.dumps(value, ensure_ascii=False)
  except (TypeError, ValueError, RecursionError):
    text = type(value).__name__
  return text if len(text) <= _LONG else f"{text[:_LONG]}..."
