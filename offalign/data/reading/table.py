"""Load a table: files or rows -> records, every bad row accounted for.

Above 300 lines, since what is odd is counted and put into words side by side.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from offalign.data.reading import aspects, forms, marks, proposals, readers
from offalign.data.reading import columns as columns_lib
from offalign.data.reading.intake import Intake
from offalign.data.reading.memory import Source, as_path
from offalign.data.reading.paths import DataPath, find
from offalign.data.reading.records import Problem, Prompt, Record, count, quote
from offalign.errors import Sentence, UserError, marked, option
from offalign.progress import Progress

_LISTED = 10
_SAMPLE = 200  # rows that are looked at for what a column may mean
HUGE = 100_000
"""Characters; a longer completion is worth a look."""


@dataclasses.dataclass(frozen=True)
class TableSummary:
  """What was read, in sentences; `str` joins them.

  Attributes:
    form: the name of the form, see `forms.FORMS`.
    counts: "rows", "prompts", "completions", "bad_rows", and one entry for
      each oddity that occurs.
    sentences: the same for people.
  """

  form: str
  counts: dict[str, int]
  sentences: tuple[str, ...]

  def __str__(self) -> str:
    return "\n".join(self.sentences)


@dataclasses.dataclass(frozen=True)
class Table:
  """The records of one or more files of the same form.

  Attributes:
    records: in the order of the files and their rows.
    summary: what was read.
    problems: what is wrong with the rows that were skipped.
    scales: of rewards of several aspects; None where rewards are numbers.
  """

  records: tuple[Record, ...]
  summary: TableSummary
  problems: tuple[Problem, ...] = ()
  scales: aspects.Scales | None = None


def load(
  path: Source,
  *,
  form: str | None = None,
  bad_rows: Literal["error", "skip"] = "error",
  int_labels: bool = False,
  columns: str | Mapping[str, str] | None = None,
  reward_weights: str | Mapping[str, float] | None = None,
  reward_least: str | Mapping[str, float] | None = None,
  reward_scaling: Literal["std", "none"] | None = None,
  reward_scales: aspects.Scales | None = None,
) -> Table:
  """Reads data of any accepted form, and checks every row of it.

  Args:
    path: a .parquet, .arrow, .jsonl, .json, .csv or .tsv file (those of text
      also .gz); a folder that `save_to_disk` wrote; a table of an SQLite
      database as "log.db::thumbs", or a query as "log.db::SELECT ..."; a
      folder, glob or comma-separated list of files, all of one form; a data
      set of the Hugging Face hub as "org/name" or "org/name:split"; or rows
      in memory: a list of dicts, or a `datasets.Dataset`.
    form: "traj", "label", "pairs", "groups", "sft", "messages",
      "ultrafeedback", "sharegpt", "alpaca", "steps" or "stepwise"; None = told
      by the columns.
    bad_rows: "error" refuses the data if any row is bad; "skip" leaves bad
      rows out and returns what is wrong with them.
    int_labels: take the numbers 0 and 1 for labels.
    columns: columns of other names that are read as those of the form, such
      as "completion=response, label=thumb:up/down" or {"completion":
      "response"}; see `columns`.
    reward_weights: how rewards that are objects of several aspects add up, as
      "helpfulness=0.7, harmless=0.3" or a dict; see `aspects`.
    reward_least: least values of aspects, in the same form; a completion
      below one of them has the lowest reward of all.
    reward_scaling: "std" (the default) brings each aspect to mean 0 and
      variance 1 over the data first, "none" does not.
    reward_scales: `Table.scales` of the data that is trained on, for rows
      that are held out; None = of these rows.

  Raises:
    UserError: for bad rows (the first few and their number), for a file that
      cannot be read as a whole, columns that make no form, files of
      different forms, or `int_labels` where there are no labels.
  """
  if bad_rows not in ("error", "skip"):
    raise UserError(
      f"{option('bad_rows')} must be 'error' or 'skip', not {bad_rows!r}"
    )
  sources = find(as_path(path))
  mapped = columns_lib.parse(columns_lib.as_text(columns))
  how = aspects.parse(
    aspects.as_text(reward_weights),
    aspects.as_text(reward_least),
    reward_scaling,
  )
  reading = _Reading(form, int_labels, mapped, how)
  for source in sources.files or (sources.hub or "",):
    reading.add(readers.read(source))
  records, problems = reading.records, reading.problems
  bad = len({(p.file, p.row) for p in problems})
  if reading.unrated and not records and not bad:
    raise UserError(f"no row can be used: {reading.unrated_sentence}")
  if bad and (bad_rows == "error" or not records):
    complaint = _complaint(problems, bad, reading.rows, bool(records))
    raise UserError(complaint)
  scales = None
  if how is not None:
    records, scales, said = aspects.combine(records, how, reward_scales)
    reading.records = records
    reading.said |= dict.fromkeys(said)
  reading.oddities["bad_rows"] = bad
  _find_oddities(records, reading.oddities, reading.places)
  summary = _summarise(sources, reading)
  return Table(tuple(records), summary, tuple(problems), scales)


class _Reading:
  """What has been read from the files so far."""

  def __init__(
    self,
    form: str | None,
    int_labels: bool,
    mapped: columns_lib.ColumnMap,
    how: aspects.Aspects | None,
  ):
    self.records: list[Record] = []
    self.problems: list[Problem] = []
    self.oddities: collections.Counter[str] = collections.Counter()
    self.unused: dict[str, None] = {}
    self.metadata: dict[str, None] = {}
    self.rows = self.unrated = 0
    self.unrated_sentence = ""
    self.said: dict[str, None] = {}
    self.places: dict[str, list[str]] = {}
    self.warnings: dict[str, None] = {}
    self.form = ""
    self._mapped = mapped
    self._wanted = form
    self._int_labels = int_labels
    self._aspects = how
    self._first: tuple[str, set[str]] | None = None

  def add(self, raw: readers.RawRows) -> None:
    """Parses the rows of a file, which must be like those before it."""
    self.rows += len(raw.rows) + len(raw.problems)
    self.oddities["blank_lines"] += raw.blank_lines
    self.problems += raw.problems
    if not raw.rows:
      return
    sample = list(itertools.islice(raw.rows.values(), _SAMPLE))
    intake = Intake(
      raw.name,
      raw.columns,
      lambda: sample,
      form=self._wanted,
      int_labels=self._int_labels,
      mapped=self._mapped,
      typed=raw.typed,
      nested=raw.nested,
      aspects=self._aspects,
    )
    if self._aspects is not None and not _is_rated(intake):
      raise UserError(
        f"{option('reward_weights')} is set, but {raw.name} has no column of "
        "rewards to read; leave it out"
      )
    labelled = {"label", "labels", *marks.COLUMNS, marks.STEPS}
    if self._int_labels and not (
      labelled & set(intake.used) or intake.turn_key == "label"
    ):
      raise UserError(
        f"{option('int_labels')} is set, but {raw.name} has no column 'label' "
        "to read; leave it out"
      )
    self._check_alike(raw.name, intake)
    self.form = intake.form.name
    title = f"checking {raw.name}"
    with Progress(title, len(raw.rows), "row") as progress:
      for number in list(raw.rows):
        parsed = intake.parse(number, raw.rows.pop(number))
        progress.update()
        if isinstance(parsed, Record):
          self.records.append(parsed)
        elif parsed:
          self.problems += parsed
    intake.finish()
    self.oddities["prompts_set_aside"] += intake.set_aside
    self.unused.update(dict.fromkeys(intake.unused))
    self.metadata |= intake.metadata
    self.unrated += intake.unrated
    self.unrated_sentence = self.unrated_sentence or intake.unrated_sentence()
    self.said |= dict.fromkeys([*raw.notes, *intake.sentences()])
    self.warnings |= dict.fromkeys(intake.warnings())

  def _check_alike(self, name: str, intake: Intake) -> None:
    # A file without margins is one of which no margin is known.
    columns = set(intake.used) - {"prompt", forms.MARGIN}
    if intake.turn_key:
      columns.add(f"a {intake.turn_key} of turns")
    self._first = self._first or (name, columns)
    if columns != self._first[1]:
      one, other = (", ".join(sorted(c)) for c in (self._first[1], columns))
      raise UserError(
        f"{self._first[0]} gives {one}, but {name} gives {other}; name files "
        "with the same columns"
      )


def _is_rated(intake: Intake) -> bool:
  rated = intake.form.name == "ultrafeedback" or "rewards" in intake.used
  return rated or "reward" in intake.used or intake.has_both_rewards


def _complaint(
  problems: Sequence[Problem], bad: int, rows: int, can_skip: bool
) -> str:
  by_row: dict[tuple[str, int], list[Problem]] = {}
  for problem in problems:
    by_row.setdefault((problem.file, problem.row), []).append(problem)
  lines = []
  for found in list(by_row.values())[:_LISTED]:
    rest = [
      f"column {p.column!r}: {marked(p.what)}" if p.column else marked(p.what)
      for p in found[1:]
    ]
    first = str(dataclasses.replace(found[0], what=marked(found[0].what)))
    lines.append("  " + "; ".join([first, *rest]))
  if bad > _LISTED:
    lines.append(f"  ... and {count(bad - _LISTED, 'more row')}")
  skip = '"skip"'
  remedy = (
    f"correct them, or leave them out with {option('bad_rows', skip)}"
    if can_skip
    else "correct them: there is no other row to use"
  )
  which = f"all {rows:,}" if bad == rows else f"{bad:,} of {rows:,}"
  return "\n".join(
    [f"{which} rows cannot be used (rows count from 0):", *lines, remedy]
  )


def _find_oddities(
  records: Sequence[Record],
  counts: collections.Counter[str],
  places: dict[str, list[str]],
) -> None:
  """Counts what is legal but worth knowing; of pairs, the first few rows."""

  def note(key: str, record: Record, found: bool) -> None:
    counts[key] += found
    where = places.setdefault(key, [])
    if found and len(where) < _LISTED:
      where.append(record.source.rpartition(":")[2])

  seen = set()
  for record in records:
    texts = record.completions
    if isinstance(record.prompt, str):
      counts["empty_prompts"] += not record.prompt
      counts["blank_prompts"] += record.prompt.isspace()
    else:
      counts["conversations"] += 1
    counts["empty_completions"] += sum(not text for text in texts)
    counts["blank_completions"] += sum(text.isspace() for text in texts)
    counts["huge_completions"] += sum(len(text) > HUGE for text in texts)
    known = (record.marks, record.turns)
    key = (
      *(record.prompt, texts, record.rewards, record.labels, record.margin),
      known,
    )
    for span in (span for one in record.marks or () for span in one.spans):
      counts["weighted_spans"] += span.weight is not None
      counts["rated_spans"] += span.rated
    counts["earlier_turns"] += len(record.turns)
    counts["duplicate_rows"] += key in seen
    seen.add(key)
    if record.ranked:
      note("equal_pairs", record, texts[0] == texts[1])
      note("margins", record, record.margin is not None)
      note("negative_margins", record, (record.margin or 0.0) < 0)
      if (rewards := record.rewards) is not None:
        note("reversed_pairs", record, rewards[0] < rewards[1])
        note("tied_pairs", record, rewards[0] == rewards[1])
  counts["rows"] = len(records)
  counts["prompts"] = len({record.prompt for record in records})
  counts["completions"] = sum(len(r.completions) for r in records)


_SENTENCES = {
  "bad_rows": ("bad row", "left out"),
  "blank_lines": ("blank line", "passed over"),
  "prompts_set_aside": (
    "row",
    "with a whole conversation on both sides: column 'prompt' was set aside",
  ),
  "empty_prompts": ("empty prompt", "(kept)"),
  "blank_prompts": ("prompt", "of whitespace alone (kept)"),
  "empty_completions": ("empty completion", "(kept)"),
  "blank_completions": ("completion", "of whitespace alone (kept)"),
  "huge_completions": ("completion", f"of over {HUGE:,} characters (kept)"),
  "duplicate_rows": ("exact repeat", "of an earlier row (kept)"),
  "equal_pairs": ("pair", "whose chosen and rejected are the same text"),
  "reversed_pairs": (
    "pair",
    "whose chosen reward is below the rejected one (kept in this order)",
  ),
  "negative_margins": ("pair", "with a margin below 0 (kept in this order)"),
  "weighted_spans": ("span", "of completions with a weight"),
  "rated_spans": ("span", "of completions with a rating of its own"),
  "earlier_turns": ("rated turn", "before the last rated one"),
  "tied_pairs": ("pair", "whose two rewards are equal (kept in this order)"),
}


def _named(rows: Sequence[str], total: int) -> str:
  """ ": rows 3, 8": the first rows of a kind."""
  if not rows:
    return ""
  more = f" and {total - len(rows):,} more" if total > len(rows) else ""
  return f": row{'s' if total > 1 else ''} {', '.join(rows)}{more}"


def _summarise(sources: DataPath, reading: _Reading) -> TableSummary:
  """Puts the counts into words."""
  files, counts = sources.files, reading.oddities
  name = sources.hub or (
    str(files[0]) if len(files) == 1 else count(len(files), "file")
  )
  rows = len(reading.records)
  texts = {0: "text", rows: "conversations"}.get(
    counts["conversations"],
    f"{count(counts['conversations'], 'conversation')}, the rest text",
  )
  form = reading.form
  sentences = [
    f"{name}: {count(rows, 'row')} of form {form!r} ({texts}), "
    f"{count(counts['prompts'], 'distinct prompt')}, "
    f"{count(counts['completions'], 'completion')}"
  ]
  if sources.passed_over:
    passed = ", ".join(path.name for path in sources.passed_over)
    sentences.append(f"files not read: {passed}")
  if reading.unused:
    names = ", ".join(proposals.shown(reading.unused))
    sentences.append(f"columns not read: {names}")
  if reading.metadata:
    keys = ", ".join(map(quote, reading.metadata))
    sentences.append(f"keys of messages not read: {keys}")
  lacking = rows - counts["margins"]
  if counts["margins"] and lacking:
    sentences.append(f"{count(lacking, 'pair')} without a margin")
  sentences += map(Sentence, reading.said)
  if reading.unrated:
    counts["unrated_rows"] = reading.unrated
    sentences.append(
      f"{count(reading.unrated, 'row')} not rated, left out"
      if len(files) > 1
      else reading.unrated_sentence
    )
  for key, (noun, what) in _SENTENCES.items():
    if counts[key]:
      where = _named(reading.places.get(key, ()), counts[key])
      sentences.append(f"{count(counts[key], noun)} {what}{where}")
  sentences += map(Sentence, reading.warnings)
  kept = {key: number for key, number in counts.items() if number}
  return TableSummary(form, kept, tuple(sentences))


def split_by_prompt(
  records: Sequence[Record], fraction: float, *, seed: int = 0
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
  """Holds out a share of the prompts, with all their records.

  Which prompts are held out depends on the seed and the prompts alone, not
  on their order, so a prompt is never on both sides.

  Args:
    records: any.
    fraction: of the distinct prompts to hold out, in (0, 1).
    seed: chooses the prompts.

  Returns:
    (training records, held-out records), each in the given order.

  Raises:
    UserError: where a side would be empty.
  """
  if not 0 < fraction < 1:
    raise UserError(
      f"the held-out fraction must be between 0 and 1, not {fraction}"
    )

  prompts = by_lot((record.prompt for record in records), seed)
  held_out = set(prompts[: round(fraction * len(prompts))])
  if not held_out or len(held_out) == len(prompts):
    raise UserError(
      f"a held-out fraction of {fraction} of {count(len(prompts), 'prompt')} "
      "leaves one side empty; change the fraction or add data"
    )
  return (
    tuple(r for r in records if r.prompt not in held_out),
    tuple(r for r in records if r.prompt in held_out),
  )


def by_lot(prompts: Iterable[Prompt], seed: int) -> list[Prompt]:
  """The distinct prompts in the order in which a seed holds them out.

  Args:
    prompts: any.
    seed: chooses the order, which depends on nothing else.
  """

  def key(prompt: Prompt) -> bytes:
    return hashlib.sha256(repr((seed, prompt)).encode()).digest()

  return sorted(set(prompts), key=key)
