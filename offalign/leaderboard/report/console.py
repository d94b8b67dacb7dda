"""The board as plain text for a console of 100 columns."""

import textwrap
from collections.abc import Sequence

from offalign.leaderboard.board import Board, Entry, Group
from offalign.leaderboard.report import tables

WIDTH = 100
_COMFORT = 24  # the width of words for which other columns are given up
_NARROW = 12  # the least width that words are cut to
_SPARE = ("wall s", "exact", "tokens", "MB", "value RMSE", "CPU s")
"""Columns that are given up for room, the first of them first."""


def render_text(board: Board) -> str:
  """Returns the ranked tables, what is not ranked and every note.

  No line of a table is wider than `WIDTH`. Columns that do not fit are named
  below their table; report.md has them all.
  """
  blocks = [board.meta.title, *(_group(group) for group in board.groups)]
  said = [*board.problems, *board.meta.verdicts]
  blocks += [_paragraph(sentence) for sentence in said]
  return "\n\n".join(blocks) + "\n"


def _group(group: Group) -> str:
  title = f"{group.track}, {group.scenario}, {group.model}"
  shown = [group.sort.key] if group.sort else []
  entries = [*group.ranked, *group.controls]
  lines = [title]
  if entries:
    lines += _table(tables.board_fields(group, entries, se=shown), shown)
  sentences = [
    tables.caption(group),
    *group.said,
    *group.notes,
    *(_unranked(group, entry) for entry in group.unranked),
    *(f"Failed: {f.label}, seed {f.seed}: {f.error}" for f in group.failures),
  ]
  return "\n".join([*lines, *map(_paragraph, sentences)])


def _unranked(group: Group, entry: Entry) -> str:
  values = [
    f"{field.title} {field.cells[0]}"
    for field in tables.board_fields(group, [entry])
    if field.key and field.cells[0] != tables.NONE
  ]
  listed = ", ".join(values) or "no metrics"
  return f"Not ranked ({entry.reason}): {entry.label}: {listed}."


def _paragraph(sentence: str) -> str:
  return textwrap.fill(sentence, WIDTH, subsequent_indent="  ")


def _table(fields: Sequence[tables.Field], shown: Sequence[str]) -> list[str]:
  """Gives up spare columns, then others but `shown`, cuts words, aligns."""
  kept = list(fields)
  lost = []
  numbers = [field.title for field in fields[4:] if field.key not in shown]
  spare = [title for title in _SPARE if title in numbers]
  spare += [title for title in reversed(numbers) if title not in spare]
  for title in spare:
    # A number is never cut: at the least width of words the rest must fit.
    limit = _COMFORT if title in _SPARE else _NARROW
    if _line(kept, limit) <= WIDTH:
      break
    kept = [field for field in kept if field.title != title]
    lost.append(title)
  limit = next(
    (n for n in range(WIDTH, _NARROW, -1) if _line(kept, n) <= WIDTH),
    _NARROW,
  )
  widths = _widths(kept, limit)
  heads = [_head(field.title) for field in kept]
  lines = [[head[0] for head in heads], [head[1] for head in heads]]
  lines.append(["-" * width for width in widths])
  for i in range(len(kept[0].cells)):
    lines.append([_compact(field.cells[i]) for field in kept])
  if not any(lines[0]):
    del lines[0]
  table = [_join(line, kept, widths) for line in lines]
  if lost:
    table.append(f"(no room here, see report.md: {', '.join(lost)})")
  return table


def _head(title: str) -> tuple[str, str]:
  """Splits a heading over two lines at its last space."""
  first, _, last = title.rpartition(" ")
  return first, last


def _compact(cell: str) -> str:
  return cell.replace(" ± ", "±")


def _widths(fields: Sequence[tables.Field], limit: int) -> list[int]:
  """Returns each column's width; words get no more than the limit."""
  widths = []
  for field in fields:
    cells = (*_head(field.title), *map(_compact, field.cells))
    natural = max(map(len, cells))
    widths.append(natural if field.numeric else min(natural, limit))
  return widths


def _line(fields: Sequence[tables.Field], limit: int) -> int:
  return sum(_widths(fields, limit)) + 2 * (len(fields) - 1)


def _join(
  cells: Sequence[str], fields: Sequence[tables.Field], widths: Sequence[int]
) -> str:
  aligned = []
  for cell, field, width in zip(cells, fields, widths, strict=True):
    if len(cell) > width:  # names differ at either end
      tail = width // 3
      cell = f"{cell[: width - 1 - tail]}…{cell[-tail:]}"
    aligned.append(cell.rjust(width) if field.numeric else cell.ljust(width))
  return "  ".join(aligned).rstrip()
