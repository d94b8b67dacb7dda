"""Scan data files row by row, with the readers of a training run."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from offalign.audit.findings import Finding, Places
from offalign.data.reading import forms, paths, rated_turns, readers
from offalign.data.reading.columns import ColumnMap
from offalign.data.reading.intake import Intake
from offalign.data.reading.records import Problem, Record, count
from offalign.data.reading.sqlite_rows import Database
from offalign.errors import Sentence, UserError, marked, option

_SAMPLE = 200  # rows that are looked at for what a column may mean

See = Callable[[Record, int, int], None]
"""Called with each record, the number of its file and of its row."""


@dataclasses.dataclass
class Scan:
  """Files, columns, row counts and reading faults of a scan.

  Attributes:
    names: the files, as the user wrote them.
    form: of the data, see `formats.FORMS`; None where no file could be read.
    columns: columns that were read, of the first file that has any.
    unused: columns that were not read.
    rows: all rows, bad ones included.
    bad: rows that cannot be used.
    blank: lines that hold nothing.
    set_aside: rows whose prompt column was not used.
    unrated: rows that nobody rated, which are left out.
    said: sentences on how columns were read.
    findings: one for each file that cannot be used, and for each column with
      bad cells.
  """

  names: list[str]
  form: str | None = None
  columns: tuple[str, ...] = ()
  unused: dict[str, None] = dataclasses.field(default_factory=dict)
  rows: int = 0
  bad: int = 0
  blank: int = 0
  set_aside: int = 0
  unrated: int = 0
  said: dict[str, None] = dataclasses.field(default_factory=dict)
  findings: list[Finding] = dataclasses.field(default_factory=list)


def scan(
  path: str | Path,
  form: str | None,
  int_labels: bool,
  see: See,
  names: list[str],
  mapped: ColumnMap | None = None,
) -> Scan:
  """Reads every row once (of JSON lines, twice: first for the columns).

  Args:
    path: as for `data.load`.
    form: as for `data.load`.
    int_labels: as for `data.load`.
    see: called with each record.
    names: filled with the names of the files before `see` is called.
    mapped: columns that are read by other names.

  Raises:
    UserError: where the path stands for nothing, the form does not exist, or
      a data set of the hub cannot be used.
  """
  if form is not None and form not in forms.FORMS:
    forms.detect(str(path), (), form)
  found = paths.find(path)
  files: list[Path | Database | str] = [*found.files] or [str(found.hub)]
  names += [str(file) for file in files]
  result = Scan(names)
  bad: dict[tuple[str, str | None], Places] = {}
  for number, file in enumerate(files):
    try:
      how = _How(form, int_labels, mapped)
      _scan_file(file, number, how, see, result, bad)
    except _Unreadable as error:
      if found.hub is not None:  # mostly a path that is mistyped
        raise UserError(str(error)) from error
      result.findings.append(Finding("error", "bad_file", Sentence(str(error))))
  result.findings += _bad_cells(bad)
  return result


class _Unreadable(Exception):
  """A file that cannot be used; the message has the marks of `option`."""


@dataclasses.dataclass(frozen=True)
class _How:
  """The options of reading."""

  form: str | None
  int_labels: bool
  mapped: ColumnMap | None


def _scan_file(
  file: Path | Database | str,
  number: int,
  how: _How,
  see: See,
  result: Scan,
  bad: dict[tuple[str, str | None], Places],
) -> None:
  name = str(file)
  try:
    stream = readers.stream(file)
    columns = stream.columns
    sample: list[dict[str, Any]] = []
    if columns is None:
      columns = _keys(stream, sample)
      stream = readers.stream(file)

    def some() -> list[dict[str, Any]]:
      if not sample:
        sample.extend(_first_rows(file))
      return sample

    intake = None
    if columns:
      intake = Intake(
        name,
        columns,
        some,
        form=how.form,
        int_labels=how.int_labels,
        mapped=how.mapped,
        typed=stream.typed,
        nested=stream.nested,
      )
      _note_form(name, intake, result)
    rows = result.rows
    for row_number, row in stream.items:
      if row is None:
        result.blank += 1
        continue
      result.rows += 1
      if isinstance(row, dict):
        if intake is None:  # every row of the file is {}
          raise UserError(f"{name} has rows without a column")
        parsed = intake.parse(row_number, row)
        if isinstance(parsed, Record):
          for part in rated_turns.each(parsed):
            see(part, number, row_number)
          continue
        if parsed is None:
          continue
      else:
        parsed = [row]
      result.bad += 1
      for problem in parsed:
        _note(problem, bad)
    if result.rows == rows:
      raise UserError(f"{name} has no rows")
    if intake is not None:
      intake.finish()
      _conclude(name, intake, stream, result)
  except UserError as error:
    raise _Unreadable(error.marked) from error


def _conclude(
  name: str, intake: Intake, stream: readers.Stream, result: Scan
) -> None:
  """Takes over what a file's intake counted and has to say."""
  result.set_aside += intake.set_aside
  result.unrated += intake.unrated
  unread = intake.unused
  for column in [*result.unused]:
    if column in intake.columns and column not in unread:
      del result.unused[column]  # such as a margin, once a row has one
  said = [*stream.notes, *intake.sentences()]
  if intake.unrated:
    said.append(intake.unrated_sentence())
  result.said |= dict.fromkeys(map(Sentence, said))
  for warning in intake.warnings():
    what = marked(warning).removeprefix("warning: ")
    result.findings.append(
      Finding("warning", "unread_feedback", Sentence(f"in {name}: {what}"))
    )


def _first_rows(file: Path | Database | str) -> list[dict[str, Any]]:
  rows: list[dict[str, Any]] = []
  for _, row in readers.stream(file).items:
    if isinstance(row, dict):
      rows.append(row)
    if len(rows) == _SAMPLE:
      break
  return rows


def _keys(
  stream: readers.Stream, sample: list[dict[str, Any]]
) -> tuple[str, ...]:
  """Collects every key of the rows of JSON lines, in order of appearance."""
  keys: dict[str, None] = {}
  for _, row in stream.items:
    if isinstance(row, dict):
      keys.update(dict.fromkeys(row))
      if len(sample) < _SAMPLE:
        sample.append(row)
  return tuple(keys)


def _note_form(name: str, intake: Intake, result: Scan) -> None:
  """Notes the columns of a file; refuses other columns than earlier files'."""
  if result.form is None:
    result.form, result.columns = intake.form.name, intake.used
  optional = {"prompt", forms.MARGIN}
  one = set(result.columns) - optional
  other = set(intake.used) - optional
  if one != other:
    raise UserError(
      f"{name} gives {', '.join(sorted(other))}, but the files before it give "
      f"{', '.join(sorted(one))}; audit files of other columns apart"
    )
  result.unused.update(dict.fromkeys(intake.unused))


def _note(problem: Problem, bad: dict[tuple[str, str | None], Places]) -> None:
  places = bad.setdefault((problem.file, problem.column), Places())
  places.add(problem.sentence)


def _bad_cells(
  bad: dict[tuple[str, str | None], Places],
) -> list[Finding]:
  found = []
  for (file, column), places in bad.items():
    if column is None:
      what = f"in {file} cannot be parsed"
    else:
      what = f"in {file} cannot be used for its column {column!r}"
    remedy = Sentence(
      f"correct, or leave out of a run with {option('data.bad_rows', 'skip')}"
    )
    if any("int_labels" in place for place in places.listed):
      remedy = Sentence(
        f"give {option('int_labels')} here and {option('data.int_labels')} to "
        "a run, if 1 means good"
      )
    found += places.finding("error", "bad_rows", "row", what, remedy)
  return found


def described(result: Scan) -> str:
  """Names the data: "a.jsonl" or "3 files"."""
  if len(result.names) == 1:
    return result.names[0]
  return count(len(result.names), "file")
