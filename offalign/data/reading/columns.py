"""Columns of other names, read as those of a form: "completion=response".

  completion=response, reward=feedback.score, label=thumb:up/down

Each entry names a column of a form, and where its cells are found: a column,
or a key inside one, with dots. After a colon come the values that mean good,
those that mean bad, and perhaps those that mean "not rated", divided by `/`;
several of a kind by `|`. Names and values that hold one of `,=:/|` stand in
quotes. Null in mapped feedback means "not rated" too, and numbers are also
read from text.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from offalign.data.reading import marks
from offalign.data.reading.forms import FORMS
from offalign.data.reading.logged_tokens import COLUMNS
from offalign.data.reading.parsing import (
  Fault,
  as_number,
  describe,
  is_empty,
)
from offalign.data.reading.records import TOOLS, quote
from offalign.errors import UserError, option, suggest

TARGETS = (
  *dict.fromkeys(
    name for form in FORMS.values() for name in (*form.needed, *form.optional)
  ),
  TOOLS,
)
"""The columns that the forms have, and that of a conversation's tools."""
LABELS = ("label",)
"""Columns of true and false."""
LISTS = (
  "messages",
  "conversations",
  "completions",
  "rewards",
  "labels",
  marks.STEPS,
  *COLUMNS,
  *marks.COLUMNS,
)
"""Columns that hold a list, whatever else they are."""
TEXTS = ("prompt", "completion", "chosen", "rejected")
"""Columns of text, or of a conversation."""
_NOT_NUMBERS = (
  *LABELS,
  *LISTS,
  *TEXTS,
  "instruction",
  "input",
  "output",
  "system",
  TOOLS,
)
NUMBERS = tuple(name for name in TARGETS if name not in _NOT_NUMBERS)
"""Columns of numbers."""
FEEDBACK = (*NUMBERS, *LABELS, "rewards")
"""Columns in which a cell may be absent, since nobody rated the row."""
_SIGNS = ",=:/|"
_TRUE = {"true": True, "false": False}
ABSENT = object()
"""What `Entry.find` gives for a row without the column, or the key."""


@dataclasses.dataclass(frozen=True)
class Entry:
  """One column of a form, and where it is read from.

  Attributes:
    target: the column of the form.
    source: the column of the file, or a key inside one, with dots.
    good: values that mean good (true, or 1); () = cells are read as they are.
    bad: values that mean bad (false, or 0).
    unrated: values that mean "not rated", beside null.
  """

  target: str
  source: str
  good: tuple[str, ...] = ()
  bad: tuple[str, ...] = ()
  unrated: tuple[str, ...] = ()

  def __str__(self) -> str:
    groups = [self.good, self.bad, self.unrated]
    values = "/".join("|".join(map(_quoted, g)) for g in groups if g)
    colon = f":{values}" if values else ""
    return f"{self.target}={_quoted(self.source)}{colon}"

  @property
  def column(self) -> str:
    """The column of the file, where the source is a key inside one."""
    return self.source.partition(".")[0]

  def find(self, row: Mapping[str, Any]) -> Any:
    """The cell of a row, or `ABSENT`."""
    return _within(row, self.source)

  def read(self, value: Any, int_labels: bool = False) -> Any:
    """A cell, as the form has it; None where it is not rated.

    Args:
      value: of the cell.
      int_labels: take the numbers 0 and 1 for labels.

    Raises:
      Fault: where it is none of the values that the entry names.
    """
    if self.target == "rewards":
      value = from_json(value)
      if isinstance(value, list):
        return [self._read(item, NUMBERS[0]) for item in value]
      return value
    if int_labels and self.target in LABELS and not self.good:
      value = {"0": False, "1": True}.get(str(value).strip(), value)
    return self._read(value, self.target)

  def _read(self, value: Any, target: str) -> Any:
    if target not in FEEDBACK:
      return from_json(value) if target in LISTS else value
    if value is None or (isinstance(value, str) and is_empty(value)):
      return None
    if self.good:
      return self._valued(value, target)
    if target in NUMBERS:
      if isinstance(value, bool):
        raise Fault(
          f"{describe(value)} where a number belongs; to read true as 1 and "
          f"false as 0, give {flag(f'{self}:true/false')}"
        )
      return as_number(value)
    if isinstance(value, str) and value.strip().lower() in _TRUE:
      return _TRUE[value.strip().lower()]
    if not isinstance(value, bool):
      raise Fault(
        f"{describe(value)} where true or false belongs; say which value is "
        f"good and which is bad, as in {flag(f'{self}:{_example(value)}')}"
      )
    return value

  def _valued(self, value: Any, target: str) -> Any:
    if any(_same(value, each) for each in self.unrated):
      return None
    for values, meaning in ((self.good, True), (self.bad, False)):
      if any(_same(value, each) for each in values):
        return meaning if target in LABELS else float(meaning)
    known = ", ".join((*self.good, *self.bad, *self.unrated))
    more = f"{'/'.join(self._groups())}/{_quoted(str(value))}"
    hint = ""
    if not self.unrated and isinstance(value, str | int | float):
      hint = (
        "; name it as a third value if it means that nobody rated: "
        f"{flag(f'{self.target}={self.source}:{more}')}"
      )
    raise Fault(f"{describe(value)}, which is none of {known}{hint}")

  def _groups(self) -> list[str]:
    return ["|".join(map(_quoted, each)) for each in (self.good, self.bad)]


@dataclasses.dataclass(frozen=True)
class ColumnMap:
  """What columns of a file are read as what columns of a form.

  Attributes:
    entries: at most one for each column of a form.
  """

  entries: tuple[Entry, ...] = ()

  def __str__(self) -> str:
    return ", ".join(map(str, self.entries))

  def names(self, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns of a file, once those that are mapped have their names."""
    columns = tuple(columns)
    sources = self.sources(columns)
    names: list[str] = []
    for column in columns:
      names += [name for name, held in sources.items() if held == column]
      if column not in sources.values():
        names.append(column)
    return tuple(dict.fromkeys([*names, *sources]))

  def sources(self, columns: Iterable[str]) -> dict[str, str]:
    """Column of a form -> the column of the file that it is in."""
    known = tuple(columns)
    return {e.target: self._owner(e, known) for e in self.entries}

  @staticmethod
  def _owner(entry: Entry, columns: tuple[str, ...]) -> str:
    return entry.source if entry.source in columns else entry.column


def parse(text: str | None) -> ColumnMap:
  """Reads a map of columns.

  >>> parse("completion=response, label=thumb:up/down").entries[1].good
  ('up',)

  Args:
    text: entries with commas between, as the module says; None = no entry.

  Raises:
    UserError: for an entry that is none, or a column that no form has.
  """
  if text is None:
    return ColumnMap()
  entries = [_entry(part, text) for part in _split(text, ",")]
  names = [entry.target for entry in entries]
  for name in names:
    if names.count(name) > 1:
      raise _wrong(text, f"{name!r} is given twice; give it once")
  return ColumnMap(tuple(entries))


def flag(text: object) -> str:
  """The option that maps columns so, to be put into a message; marked."""
  return option("columns", repr(str(text)))


def as_text(columns: Any) -> Any:
  """A map of columns as text: of a dict, {"completion": "response"}.

  >>> as_text({"completion": "response", "label": "thumb:up/down"})
  'completion=response, label=thumb:up/down'
  """
  if not isinstance(columns, Mapping):
    return columns
  return ", ".join(f"{name}={source}" for name, source in columns.items())


def _entry(part: str, text: str) -> Entry:
  name, *rest = _split(part, "=")
  target = _plain(name)
  if len(rest) != 1 or not target or not rest[0].strip():
    raise _wrong(
      text, f"{part.strip()!r} is not of the form column=column of the file"
    )
  if target not in TARGETS:
    raise _wrong(
      text,
      f"no form has a column {target!r}{suggest(target, TARGETS)} (columns of "
      f"forms: {', '.join(TARGETS)}; the file's own name comes behind =)",
    )
  source, *values = _split(rest[0], ":")
  if len(values) > 1:
    raise _wrong(text, f"two colons in {part.strip()!r}; put names in quotes")
  groups: list[tuple[str, ...]] = []
  if values:
    groups = [
      tuple(_plain(each) for each in _split(group, "|"))
      for group in _split(values[0], "/")
    ]
    if target not in FEEDBACK:
      raise _wrong(text, f"{target!r} is no feedback, so it maps no values")
    if not 2 <= len(groups) <= 3:
      raise _wrong(
        text,
        f"{values[0].strip()!r} is not good/bad, as in up/down, or "
        "good/bad/not rated",
      )
    every = [value for group in groups for value in group]
    twice = [v for v in every if sum(_same(v, each) for each in every) > 1]
    if twice:
      raise _wrong(text, f"the value {twice[0]!r} would mean two things")
  return Entry(target, _plain(source), *groups)


def _wrong(text: str, what: str) -> UserError:
  return UserError(f"{option('columns', quote(text, 80))}: {what}", "columns")


def _split(text: str, sign: str) -> list[str]:
  """The parts of a text between signs that stand in no quotes."""
  parts, quoted = [""], ""
  for character in text:
    if quoted:
      quoted = "" if character == quoted else quoted
    elif character in "'\"" and (parts[-1].rstrip() or ",")[-1] in _SIGNS:
      quoted = character
    elif character == sign:
      parts.append("")
      continue
    parts[-1] += character
  return parts


def _plain(text: str) -> str:
  text = text.strip()
  if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
    return text[1:-1]
  return text


def _quoted(text: str) -> str:
  if any(c in _SIGNS for c in text) or text != text.strip() or not text:
    return f'"{text}"' if '"' not in text else f"'{text}'"
  return text


def _same(value: Any, word: str) -> bool:
  """Whether a cell holds the value that a word of a map names."""
  if isinstance(value, bool):
    return word.lower() == str(value).lower()
  if isinstance(value, str) and value == word:
    return True
  if isinstance(value, str) and {value.strip().lower(), word.lower()} <= {
    *_TRUE
  }:
    return value.strip().lower() == word.lower()
  number, other = as_number(value), as_number(word)
  if isinstance(number, str) or isinstance(other, str):
    return False
  if not isinstance(number, int | float):
    return False
  return number == other or (number != number and other != other)


def _example(value: Any) -> str:
  """Good and bad values for a hint, with one that was met."""
  for good, bad in (("1", "0"), ("1", "-1"), ("up", "down")):
    if any(_same(value, word) for word in (good, bad)):
      return f"{good}/{bad}"
  if isinstance(value, int | float):
    return "4|5/1|2|3"
  return "GOOD/BAD"


def _within(row: Any, source: str) -> Any:
  """The value at a name, or at keys with dots between."""
  if isinstance(row, str):
    row = from_json(row)
  if not isinstance(row, Mapping):
    return ABSENT
  if source in row:
    return row[source]
  if "." not in source:
    return ABSENT
  parts = source.split(".")
  for i in range(len(parts) - 1, 0, -1):
    head = ".".join(parts[:i])
    if head in row:
      return _within(row[head], ".".join(parts[i:]))
  return ABSENT


def from_json(value: Any) -> Any:
  """A list or an object that is written as text, as such; else the value."""
  if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
    return value
  try:
    return json.loads(value)
  except (ValueError, RecursionError):
    return value
