"""One file's rows into records, for a run and for the audit alike.

Columns are renamed by a `ColumnMap`, text becomes numbers, booleans and lists
in files that have none, and what does not fit is said with its cure.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from offalign.data.reading import columns as columns_lib
from offalign.data.reading import (
  forms,
  logged_tokens,
  mark_cells,
  marks,
  proposals,
  rated_turns,
)
from offalign.data.reading.aspects import Aspects
from offalign.data.reading.columns import ColumnMap, flag
from offalign.data.reading.parsing import Fault, as_number
from offalign.data.reading.records import (
  TOOLS,
  Problem,
  Record,
  count,
  quote,
)
from offalign.data.reading.row_parser import RowParser
from offalign.errors import Sentence, UserError, marked, option, suggest

Sample = Callable[[], Sequence[dict[str, Any]]]
"""Gives some rows of the file, as they are in it."""

_BOOLEANS = {"true": True, "false": False}
_TEXT_ALONE = ("ultrafeedback", "alpaca")  # forms without conversations
_INT_LABELS = ("0", "1")  # of which `int_labels` is the cure


class Intake:
  """Makes records of the rows of one file.

  Attributes:
    form: of the file.
    used: columns of the form that are read, by the form's names.
    unrated: rows that nobody rated, which are left out.
    set_aside: see `RowParser`.
    metadata: see `RowParser`.
    overlooked: columns that are not read and look like feedback.
    columns: of the file.
  """

  def __init__(
    self,
    name: str,
    columns: tuple[str, ...],
    sample: Sample,
    *,
    form: str | None = None,
    int_labels: bool = False,
    mapped: ColumnMap | None = None,
    typed: bool = True,
    nested: bool = True,
    aspects: Aspects | None = None,
  ):
    """Tells the form of a file.

    Args:
      name: of the file.
      columns: what it has.
      sample: gives some of its rows.
      form: see `forms.detect`.
      int_labels: take the numbers 0 and 1 for labels.
      mapped: columns that are read by other names.
      typed: see `stream.Stream`.
      nested: see `stream.Stream`.
      aspects: how rewards of several aspects add up; None = they are numbers.

    Raises:
      UserError: where the columns make no form, or a column that is mapped is
        not there.
    """
    self._name = name
    self._map = mapped or ColumnMap()
    self._typed, self._nested = typed, nested
    self._int_labels = int_labels
    self._texts = 0  # numbers that were text
    self._met: set[str] = set()
    self.unrated = 0
    self._check_sources(columns, sample)
    names = self._with_tokens(self._map.names(columns), sample)
    try:
      self.form = forms.detect(name, names, form)
    except UserError as error:
      cure = proposals.cure(columns, sample())
      raise UserError(marked(error) + cure) from None
    self._parser = RowParser(
      name, self.form, names, int_labels=int_labels, aspects=aspects
    )
    self.used = self._parser.layout.used
    self.metadata = self._parser.metadata
    self._parser.turn_key = self._find_turn_key(sample)
    self._check_targets()
    sources = self._map.sources(columns)
    read = {sources.get(used, used) for used in self.used}
    self._sources = {e.target: e.source for e in self._map.entries}
    self._hidden = tuple(
      c for c in columns if c in sources and c not in sources.values()
    )
    self._taken = set(sources.values())
    self._unread = tuple(
      c for c in columns if c not in read or c in self._hidden
    )
    self._margin = sources.get(forms.MARGIN, forms.MARGIN)
    self._tools = sources.get(TOOLS, TOOLS)
    self._has_margins = False
    self.columns = columns
    self._sample = sample
    self.overlooked = proposals.overlooked(self._unread, sample)

  @property
  def has_both_rewards(self) -> bool:
    """Whether pairs have a reward of each side."""
    return self._parser.has_both_rewards

  @property
  def turn_key(self) -> rated_turns.Key | None:
    """The key by which messages rate turns; None where none does."""
    return self._parser.turn_key

  @property
  def reads_tools(self) -> bool:
    """Whether a row had tools, which no form names among its columns."""
    return self._parser.tools

  @property
  def unused(self) -> tuple[str, ...]:
    """Columns of the file that are not read, as far as is known by now."""
    unread = set(self._unread) - ({self._tools} if self.reads_tools else set())
    if forms.MARGIN in self.used and not self._has_margins:
      unread.add(self._margin)  # null in every row
    return tuple(c for c in self.columns if c in unread)

  @property
  def set_aside(self) -> int:
    """Rows whose prompt column was not used."""
    return self._parser.set_aside

  def _check_sources(self, columns: tuple[str, ...], sample: Sample) -> None:
    sources = self._map.sources(columns)
    for entry in self._map.entries:
      if sources[entry.target] in columns:
        continue
      known = ", ".join(proposals.shown(columns))
      hint = suggest(entry.column, columns[:1000])
      raise UserError(
        f"{self._name} has no column {quote(entry.column)}, which "
        f"{option('columns')} reads as {entry.target!r}{hint} (its columns: "
        f"{known})"
      )

  def _with_tokens(
    self, names: tuple[str, ...], sample: Sample
  ) -> tuple[str, ...]:
    """The columns, less those of tokens and spans that hold something else.

    Lists by token without the ids that they are of are not read either.

    Raises:
      UserError: where such a column is mapped.
    """
    mapped = {entry.target for entry in self._map.entries}
    there = [
      c for c in names if c in logged_tokens.COLUMNS or c in marks.COLUMNS
    ]
    if not there:
      return names
    held = {*mapped, *self._spans_of(there, sample)}
    for row in sample():
      held |= {
        c
        for c in there
        if logged_tokens.look_like_ids(columns_lib.from_json(row.get(c)))
      }
    of = {logged_tokens.LOGPROBS: logged_tokens.IDS}
    of |= zip(logged_tokens.PAIR_LOGPROBS, logged_tokens.PAIR_IDS, strict=True)
    of |= dict.fromkeys(marks.SINGLE[1:], logged_tokens.IDS)
    for side, ids in zip(marks.PAIR, logged_tokens.PAIR_IDS, strict=True):
      of |= dict.fromkeys(side[1:], ids)
    read = [c for c in there if c in of or c in held]
    for column in [c for c in read if c in of and of[c] not in read]:
      if column in mapped:
        what = "numbers a token" if column in marks.COLUMNS else "log-probs"
        raise UserError(
          f"{option('columns')} reads {column!r} of {self._name}, which has "
          f"no {of[column]!r}: {what} are of token ids, so give both"
        )
      read.remove(column)
    return tuple(c for c in names if c not in there or c in read)

  @staticmethod
  def _spans_of(there: Sequence[str], sample: Sample) -> set[str]:
    """The columns of spans that do not hold something else."""
    spans = {c for c in there if c.endswith(marks.SPANS)}
    looks = {
      column: {
        mark_cells.look_like_spans(columns_lib.from_json(row.get(column)))
        for row in sample()
      }
      for column in spans
    }
    return {
      c for c, found in looks.items() if True in found or False not in found
    }

  def _find_turn_key(self, sample: Sample) -> rated_turns.Key | None:
    """The key by which messages rate turns, where no column does."""
    if self.form.name != "messages":
      return None
    if {"reward", "label"} & set(self.used):
      return None
    entries = [e for e in self._map.entries if e.target == "messages"]
    cells = (
      entries[0].find(row) if entries else row.get("messages")
      for row in sample()
    )
    found = rated_turns.key_of(map(columns_lib.from_json, cells))
    known = {*logged_tokens.COLUMNS, *marks.COLUMNS}
    both = [column for column in self.used if column in known]
    if found and both:
      raise UserError(
        f"{self._name} rates turns in its messages ({found!r}), and has a "
        f"column {both[0]!r}, which is of the last turn alone; take one out"
      )
    return found

  def _check_targets(self) -> None:
    talks = self.form.name not in _TEXT_ALONE
    for entry in self._map.entries:
      if entry.target not in self.used and not (
        talks and entry.target == TOOLS
      ):
        raise UserError(
          f"{option('columns')} reads {quote(entry.source)} of {self._name} as "
          f"{entry.target!r}, which form {self.form.name!r} does not have; "
          "leave it out"
        )

  def parse(
    self, number: int, row: dict[str, Any]
  ) -> Record | list[Problem] | None:
    """The record of a row, what is wrong with it, or None: nobody rated it."""
    made, faults = self._mapped(row)
    if faults:
      return [
        Problem(self._name, number, column, Sentence(what))
        for column, what in faults.items()
      ]
    if made is None:
      self.unrated += 1
      return None
    if not self._typed or not self._nested:
      made = self._converted(made)
    if self._parser.is_unrated(made):
      self.unrated += 1
      return None
    parsed = self._parser.parse(number, made)
    if isinstance(parsed, Record):
      self._has_margins |= parsed.margin is not None
      return parsed
    return [self._explained(problem, made) for problem in parsed]

  def _mapped(
    self, row: dict[str, Any]
  ) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The row by the names of the form; None: not rated. And its faults."""
    if not self._map.entries:
      return row, {}
    hidden = self._taken.union(self._sources)
    made = {c: value for c, value in row.items() if c not in hidden}
    faults: dict[str, str] = {}
    rated = True
    for entry in self._map.entries:
      found = entry.find(row)
      absent = found is columns_lib.ABSENT
      if not absent:
        self._met.add(entry.target)
      value = None if absent else found
      try:
        read = entry.read(value, self._int_labels)
      except Fault as fault:
        faults[entry.source] = str(fault)
        continue
      if read is None and entry.target in columns_lib.FEEDBACK:
        rated = False
      if isinstance(value, str) and isinstance(read, float) and not entry.good:
        self._texts += 1
      if not absent:
        made[entry.target] = read
    return (made if rated else None), faults

  def _converted(self, row: dict[str, Any]) -> dict[str, Any]:
    """Cells of text as what the form has in their columns."""
    made = dict(row)
    for column in self.used:
      cell = made.get(column)
      if not isinstance(cell, str):
        continue
      if column in columns_lib.LISTS or (
        column == "behaviour_logps" and self.form.name == "groups"
      ):
        made[column] = columns_lib.from_json(cell)
      elif column in columns_lib.TEXTS and '"role"' in cell:
        made[column] = _conversation(cell)
      elif not self._typed and column in columns_lib.NUMBERS:
        made[column] = as_number(cell)
      elif not self._typed and column in columns_lib.LABELS:
        made[column] = _label(cell)
    return made

  def _explained(self, problem: Problem, row: dict[str, Any]) -> Problem:
    """A problem by the name of the file's column, with its cure."""
    column = problem.column
    if column is None:
      return problem
    what = marked(problem.what)
    if column in columns_lib.FEEDBACK and column not in self._sources:
      what += _cure(column, row.get(column), what)
    named = self._sources.get(column, column)
    return Problem(problem.file, problem.row, named, Sentence(what))

  def finish(self) -> None:
    """Checks, after the last row, that what is mapped was there.

    Raises:
      UserError: naming a key that no row has.
    """
    for entry in self._map.entries:
      if entry.target not in self._met:
        raise UserError(
          f"no row of {self._name} has {quote(entry.source)}, which "
          f"{option('columns')} reads as {entry.target!r} (its columns: "
          f"{', '.join(proposals.shown(self.columns))})"
        )

  def sentences(self) -> Iterator[str]:
    """What was made of the columns, for people."""
    for entry in self._map.entries:
      if entry.target == TOOLS and not self.reads_tools:
        continue  # no row has any, or all are plain text: it is not read
      if entry.good:
        one, other = ("true", "false")
        if entry.target not in columns_lib.LABELS:
          one, other = "1", "0"
        good, bad = (
          " or ".join(map(quote, v)) for v in (entry.good, entry.bad)
        )
        yield (
          f"column {entry.target!r} is read from {quote(entry.source)}: {good} "
          f"is {one}, {bad} is {other}"
        )
      elif entry.source != entry.target:
        yield f"column {entry.target!r} is read from {quote(entry.source)}"
    if self._hidden:
      yield (
        f"columns of these names are not read: {', '.join(self._hidden)}, "
        f"since {option('columns')} reads others for them"
      )
    if self._texts:
      yield f"{count(self._texts, 'number')} read from text"
    if self.form.name == "alpaca" and "input" in self.used:
      yield (
        "the prompt is column 'instruction', and, where there is one, 'input' "
        "after an empty line"
      )
    texts = [
      c
      for c in self.used
      if c in columns_lib.NUMBERS and c not in self._sources
    ]
    if not self._typed and texts:
      yield (
        f"{self._name} is a file of text: {', '.join(texts)} read as numbers"
      )

  def warnings(self) -> Iterator[str]:
    """What is not read and should be looked at, for people."""
    if self.overlooked:
      names = ", ".join(map(quote, self.overlooked))
      entry = proposals.for_feedback(self.overlooked, self._sample())
      how = f"; {flag(entry)} reads it" if entry else ""
      yield (
        f"warning: not read, though by the name it is feedback: {names}{how}"
      )
    tokens = [
      f"{target}={column}"
      for column, target in logged_tokens.OTHER_NAMES.items()
      if column in self._unread and target in self.form.optional
    ]
    if tokens and logged_tokens.IDS not in self.used:
      names = ", ".join(quote(each.partition("=")[2]) for each in tokens)
      yield (
        f"note: not read, though by the name it is of tokens: {names}; "
        f"{flag(', '.join(tokens))} reads it"
      )
    if self.form.name == "pairs" and "prompt" not in self.used:
      found = proposals.like("prompt", self._unread)
      if found:
        yield (
          f"warning: chosen and rejected are taken to begin with the prompt, "
          f"and column {quote(found)} is not read; if it is the prompt, give "
          f"{flag(f'prompt={found}')}"
        )

  def unrated_sentence(self) -> str:
    """How many rows nobody rated; "" for none."""
    if not self.unrated:
      return ""
    if self.turn_key is not None:
      return (
        f"{count(self.unrated, 'row')} left out as not rated: no message with "
        f"a {self.turn_key!r}"
      )
    sources = [
      quote(e.source)
      for e in self._map.entries
      if e.target in columns_lib.FEEDBACK
    ]
    return (
      f"{count(self.unrated, 'row')} left out as not rated: no value in "
      f"{' or '.join(sources)}"
    )


def _cure(column: str, value: Any, problem: str) -> str:
  if column == "behaviour_logps":
    group = isinstance(value, list) and "list" not in problem
    if isinstance(value, list | dict) and not group:
      return (
        f"; log-probs of the tokens are a column {logged_tokens.LOGPROBS!r}, "
        f"beside their ids, {logged_tokens.IDS!r}"
      )
  same = flag(f"{column}={column}")
  if value is None:
    return f'; if it means "not rated", leave such rows out with {same}'
  numeric = isinstance(value, str) and not isinstance(as_number(value), str)
  if numeric and column in columns_lib.NUMBERS:
    return f", or read them with {same}"
  odd = isinstance(value, str | int) and str(value) not in _INT_LABELS
  if column in columns_lib.LABELS and odd:
    if str(value).strip().lower() in _BOOLEANS:
      return f"; read text as such with {same}"
    values = proposals.good_bad(value) or "GOOD/BAD"
    example = flag(f"{column}={column}:{values}")
    return f"; say which value is good with {example}"
  return ""


def _conversation(cell: str) -> Any:
  """A conversation that is written as JSON text; else the text."""
  found = columns_lib.from_json(cell)
  if not isinstance(found, list) or not found:
    return cell
  whole = all(isinstance(item, dict) and "role" in item for item in found)
  return found if whole else cell


def _label(cell: str) -> Any:
  word = cell.strip().lower()
  if word in _BOOLEANS:
    return _BOOLEANS[word]
  return int(word) if word in _INT_LABELS else cell
