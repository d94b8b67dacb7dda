"""Tables of a board as text cells, for console, Markdown and HTML alike."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from offalign.errors import option, spoken
from offalign.leaderboard import columns
from offalign.leaderboard.board import Board, Entry, Group
from offalign.leaderboard.meta import Point
from offalign.leaderboard.ranking import budget_text

NONE = "–"


@dataclasses.dataclass(frozen=True)
class Field:
  """A column of a table as text.

  Attributes:
    title: the heading.
    cells: one for each entry.
    numeric: aligned to the right.
    key: the metric shown; "" for none.
  """

  title: str
  cells: tuple[str, ...]
  numeric: bool = True
  key: str = ""


def metric_cell(entry: Entry, key: str, *, se: bool = True) -> str:
  """Returns "0.882 ± 0.006", without the error where it is not known."""
  stat = entry.metrics.get(key)
  if stat is None:
    return NONE
  mean = columns.cell(key, stat.mean)
  error = entry.se(key)
  if not se or error is None:
    return mean
  return f"{mean} ± {columns.spread(key, error)}"


def board_metrics(group: Group) -> list[str]:
  """Returns the metrics of the main table, in the order of its columns."""
  present = _present(group.entries)
  keys = [column.key for column in columns.COLUMNS if column.key in present]
  if group.sort and group.sort.key not in keys:
    keys.insert(0, group.sort.key)
  return keys


def further_metrics(group: Group) -> list[str]:
  """Returns the metrics that have no column in the main table."""
  return sorted(_present(group.entries) - set(board_metrics(group)))


def board_fields(
  group: Group, entries: Sequence[Entry], *, se: Sequence[str] | None = None
) -> list[Field]:
  """Lays out the main table.

  Args:
    group: where the entries belong; it decides which columns there are.
    entries: the table's lines.
    se: metrics whose standard error is shown; None for all.

  Returns:
    rank, method, data, seeds, metrics, seconds, memory.
  """
  fields = [
    _field("#", entries, lambda e: place(group, e)),
    _field("method", entries, lambda e: e.label, False),
    _field("data", entries, lambda e: e.data_view or NONE, False),
    _field("seeds", entries, _seeds),
  ]
  for key in board_metrics(group):
    show = se is None or key in se
    cells = tuple(metric_cell(entry, key, se=show) for entry in entries)
    fields.append(Field(columns.column(key).title, cells, key=key))
  return fields + cost_fields(entries)


def place(group: Group, entry: Entry) -> str:
  """Returns the rank, with a star where it is of the top set."""
  if entry.rank is None:
    return NONE
  return f"{entry.rank}{'*' * (entry.label in group.starred)}"


def cost_fields(entries: Sequence[Entry]) -> list[Field]:
  """Lays out the main table's last columns: seconds and memory."""
  return [
    _field("CPU s", entries, lambda e: f"{e.seconds['cpu'].mean:.1f}"),
    _field("wall s", entries, lambda e: f"{e.seconds['wall'].mean:.1f}"),
    _field("MB", entries, _memory),
  ]


def _field(
  title: str,
  entries: Sequence[Entry],
  cell: Callable[[Entry], str],
  numeric: bool = True,
) -> Field:
  return Field(title, tuple(map(cell, entries)), numeric)


def further_fields(group: Group) -> list[Field]:
  """Lays out the metrics that have no column in the main table."""
  entries = group.entries
  fields = [_field("method", entries, lambda e: e.label, False)]
  for key in further_metrics(group):
    cells = tuple(metric_cell(entry, key) for entry in entries)
    fields.append(Field(columns.column(key).title, cells, key=key))
  return fields


def oracle_fields(points: Sequence[Point]) -> list[Field]:
  """Lays out an oracle's points."""
  order = ["name", "tau", "kl", "reward_gain", "win"]
  present = {key for point in points for key in point}
  keys = [key for key in order if key in present]
  keys += sorted(present - set(order))
  return [
    Field(
      columns.column(key).title,
      tuple(_point(point, key) for point in points),
      key != "name",
    )
    for key in keys
  ]


def _point(point: Point, key: str) -> str:
  value = point.get(key, NONE)
  if isinstance(value, str):
    return value
  return f"{value:g}" if key == "tau" else columns.cell(key, value)


def duelists(group: Group) -> list[str]:
  """Lists the methods of the head-to-head table, in the board's order."""
  met = {a for a, _ in group.duels}
  labels = dict.fromkeys(entry.label for entry in group.entries)
  return [label for label in labels if label in met]


def short_names(groups: Sequence[Group]) -> dict[str, str]:
  """Names groups by key, without the models' options where that is enough."""
  short = {
    group.key: f"{group.track}, {group.scenario}, "
    + group.model.partition("(")[0]
    for group in groups
  }
  names = list(short.values())
  return {
    group.key: short[group.key]
    if names.count(short[group.key]) == 1
    else f"{group.track}, {group.scenario}, {group.model}"
    for group in groups
  }


def caption(group: Group) -> str:
  """Says what the table is sorted by and which budget its ranks share."""
  if group.sort is None:
    return spoken(
      "Nothing here has a metric that ranks by default: choose one with "
      f"{option('sort')}."
    )
  order = "lowest" if group.sort.lower else "highest"
  text = f"Sorted by {group.sort.title}, {order} first."
  if group.budget and group.ranked:
    text += f" Budget of every ranked run: {budget_text(group.budget)}."
    text += " FLOPs, parameters and CPU time are not equal."
  return text


def legend(groups: Sequence[Group]) -> list[str]:
  """Says what the columns of these groups mean, a sentence for each."""
  keys = {key for group in groups for key in board_metrics(group)}
  meanings = [c.meaning for c in columns.COLUMNS if c.key in keys]
  sentences = [f"{text[0].upper()}{text[1:]}." for text in meanings]
  if "kl" in keys and {"win_vs_sft", "win_vs_ref"} & keys:
    sentences.append(
      "A win rate rises with the KL that is spent: read win rate, KL and eff "
      "together."
    )
  sentences.append(
    "± is the standard error of the mean: over seeds and prompts where rows "
    "hold the outcomes of prompts, over seeds alone where they do not. Methods "
    "that are equal at the printed precision share a rank; * marks the top "
    "set, whose order is not resolved."
  )
  entries = [entry for group in groups for entry in group.entries]
  if any(entry.failed_seeds for entry in entries):
    sentences.append(
      "Seeds a/b: a of b runs ended well, and the means are over those a."
    )
  sentences.append(
    "CPU s sums over threads. MB is the high-water mark of the process that "
    "ran the method, so runs of one process share it; device memory is not "
    "in it."
  )
  return sentences


def environments(board: Board) -> list[str]:
  """Says where the rows were made, a sentence for each place."""
  return [
    f"{count} {'row' if count == 1 else 'rows'}: {versions}; revision "
    f"{revision}"
    for (versions, revision), count in board.environments.items()
  ]


def _present(entries: Sequence[Entry]) -> set[str]:
  return {key for entry in entries for key in entry.metrics}


def _seeds(entry: Entry) -> str:
  done, failed = len(entry.seeds), len(entry.failed_seeds)
  return f"{done}/{done + failed}" if failed else str(done)


def _memory(entry: Entry) -> str:
  peak = entry.peak_memory_mb
  return f"{peak:.0f}" if math.isfinite(peak) else NONE
