"""The cells of a group's tables, for the console and for Markdown alike."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from offalign.leaderboard import columns
from offalign.leaderboard.board import Entry, Group
from offalign.leaderboard.ranking import budget_text

NONE = "–"


@dataclasses.dataclass(frozen=True)
class Field:
  """A column of the printed table.

  Attributes:
    title: its heading.
    cells: one for each entry.
    numeric: aligned to the right.
    key: the metric that it shows; "" where it shows none.
  """

  title: str
  cells: tuple[str, ...]
  numeric: bool = True
  key: str = ""


def metric_cell(entry: Entry, key: str, *, sd: bool = True) -> str:
  """Returns "0.882 ± 0.006", without the deviation for a single seed."""
  stat = entry.metrics.get(key)
  if stat is None:
    return NONE
  mean = columns.cell(key, stat.mean)
  if not sd or stat.sd is None:
    return mean
  return f"{mean} ± {columns.spread(key, stat.sd)}"


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
  group: Group, entries: Sequence[Entry], *, sd: Sequence[str] | None = None
) -> list[Field]:
  """Lays out the main table.

  Args:
    group: where the entries belong; it decides which columns there are.
    entries: the table's lines.
    sd: metrics whose standard deviation is shown; None for all.

  Returns:
    rank, method, data, seeds, metrics, fold deviation, seconds, memory.
  """

  def field(
    title: str, cell: Callable[[Entry], str], numeric: bool = True
  ) -> Field:
    return Field(title, tuple(map(cell, entries)), numeric)

  fields = [
    field("#", lambda e: NONE if e.rank is None else str(e.rank)),
    field("method", lambda e: e.label, False),
    field("data", lambda e: e.data_view or NONE, False),
    field("seeds", _seeds),
  ]
  for key in board_metrics(group):
    show = sd is None or key in sd
    cells = tuple(metric_cell(entry, key, sd=show) for entry in entries)
    fields.append(Field(columns.column(key).title, cells, key=key))
    if any(key in entry.fold_sd for entry in group.entries) and show:
      fields.append(
        field("fold sd", lambda e, key=key: _fold(e, key))  # type: ignore[misc]
      )
  fields.append(field("CPU s", lambda e: f"{e.seconds['cpu'].mean:.1f}"))
  fields.append(field("wall s", lambda e: f"{e.seconds['wall'].mean:.1f}"))
  fields.append(field("MB", _memory))
  return fields


def caption(group: Group) -> str:
  """Says what the table is sorted by and which budget its ranks share."""
  if group.sort is None:
    return "Nothing here has a metric that ranks by default: use --sort."
  order = "lowest" if group.sort.lower else "highest"
  text = f"Sorted by {group.sort.title}, {order} first."
  if group.budget and group.ranked:
    text += f" Budget of every ranked run: {budget_text(group.budget)}."
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
    "± is the sample standard deviation over seeds; a difference of less "
    "than about twice that is not resolved. Methods that are equal at the "
    "printed precision share a rank."
  )
  entries = [entry for group in groups for entry in group.entries]
  if any(entry.fold_sd for entry in entries):
    sentences.append(
      "Fold sd is the mean over seeds of the standard deviation over the "
      "folds of the test prompts."
    )
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


def _present(entries: Sequence[Entry]) -> set[str]:
  return {key for entry in entries for key in entry.metrics}


def _seeds(entry: Entry) -> str:
  done, failed = len(entry.seeds), len(entry.failed_seeds)
  return f"{done}/{done + failed}" if failed else str(done)


def _fold(entry: Entry, key: str) -> str:
  if key not in entry.fold_sd:
    return NONE
  return columns.spread(key, entry.fold_sd[key])


def _memory(entry: Entry) -> str:
  peak = entry.peak_memory_mb
  return f"{peak:.0f}" if math.isfinite(peak) else NONE
