"""The HTML report: a board as the data of page.html's sections."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from offalign import pages
from offalign.leaderboard import columns
from offalign.leaderboard.board import Board, Entry, Group
from offalign.leaderboard.meta import Point
from offalign.leaderboard.ranking import budget_text
from offalign.leaderboard.report import palette, samples, tables
from offalign.leaderboard.report.markdown import REPRODUCE
from offalign.leaderboard.report.palette import Style
from offalign.leaderboard.report.plots import Picture
from offalign.pages import Cell, Column, Content, Section, Table

_MARKS = {
  "win_vs_sft": 0.5,
  "win_vs_ref": 0.5,
  "win_vs_baseline": 0.5,
  "reward_gain": 0.0,
}
Styles = Mapping[str, Style]


def render_page(board: Board, pictures: Mapping[str, Sequence[Picture]]) -> str:
  """Returns the report as one self-contained HTML page.

  Args:
    board: what to report.
    pictures: group key -> its pictures.

  Returns:
    HTML that depends on nothing but the arguments: no clock, no paths of
    this machine.
  """
  meta, html = board.meta, _html()
  bullets = pages.template("pages/parts.html").bullets
  names = tables.short_names(board.groups)
  styles = palette.styles(board)
  sections = []
  if meta.verdicts:
    sections.append(Section("Verdicts", bullets(meta.verdicts)))
  for group in board.groups:
    points = meta.points(group.track, group.scenario, group.model)
    body = _group(group, points, pictures.get(group.key, ()), styles)
    sections.append(Section(names[group.key], body))
  budget = html.budget(_budgets(board, names), tables.environments(board))
  reading = html.reading(tables.legend(board.groups))
  sections += [
    Section("Failed runs", html.failures(_failures(board, names), board.rows)),
    Section("Budget and environment", budget, "Budget"),
    Section("How to reproduce", _reproduce(board, names), "Reproduce"),
    Section("How to read the tables", reading, "Reading", "reading"),
  ]
  if board.problems or meta.notes:
    notes = bullets([*board.problems, *meta.notes])
    sections.append(Section("Notes", notes))
  return pages.page(meta.title, sections, lead=meta.scale)


def _html() -> Any:
  return pages.template("leaderboard/report/page.html")


def _group(
  group: Group,
  points: Sequence[Point],
  pictures: Sequence[Picture],
  styles: Styles,
) -> Markup:
  """Returns the section of one group; `points` are its oracle's."""
  shown = [*group.ranked, *group.controls]
  further = tables.further_fields(group) + tables.cost_fields(group.entries)
  short, long = samples.side_by_side(group)
  return _html().group(
    model=group.model,
    sorted_by=tables.caption(group),
    said=group.said,
    board=_board(group, shown, styles) if shown else None,
    controls=bool(group.controls),
    notes=group.notes,
    unranked=[
      (reason, _board(group, _of(group, reason), styles, budget=True))
      for reason in dict.fromkeys(entry.reason for entry in group.unranked)
    ],
    pictures=pictures,
    duels=_duels(group) if group.duels else None,
    samples=short,
    long_samples=long,
    oracle=_plain(tables.oracle_fields(points)) if points else None,
    further=_plain(further) if group.entries else None,
  )


def _of(group: Group, reason: str) -> list[Entry]:
  return [entry for entry in group.unranked if entry.reason == reason]


def _board(
  group: Group,
  entries: Sequence[Entry],
  styles: Styles,
  *,
  budget: bool = False,
) -> Table:
  """The leaderboard; time and memory are in a table of their own."""
  rest = {field.title for field in tables.cost_fields(entries)} | {"data"}
  fields = tables.board_fields(group, entries)
  fields = [field for field in fields if field.title not in rest]
  heads, cells = [], []
  for field in fields:
    heads.append(_head(field, group))
    cells.append(_cells(field, entries, styles))
    if group.sort and field.key == group.sort.key:
      heads.append(
        Column("± SE, seeds", sortable=False, help="mean, its error and seeds")
      )
      cells.append(_intervals(entries, field.key))
  if budget:
    heads.append(Column("budget"))
    cells.append([Cell(budget_text(entry.budget)) for entry in entries])
  return Table(
    heads,
    list(zip(*cells, strict=True)),
    label=f"Leaderboard of {group.key}",
    faint=[i for i, entry in enumerate(entries) if entry.control],
  )


def _head(field: tables.Field, group: Group) -> Column:
  column = columns.column(field.key)
  if group.sort and field.key == group.sort.key:
    column = group.sort
  return Column(
    field.title,
    numeric=field.numeric,
    help=column.meaning if field.key else "",
    first="ascending" if not field.key or column.lower else "descending",
    sorted="ascending" if field.title == "#" else "",
    header=field.title == "method",
  )


def _cells(
  field: tables.Field, entries: Sequence[Entry], styles: Styles
) -> list[Cell]:
  if field.title == "method":
    return [_method(entry, styles[entry.label]) for entry in entries]
  if field.title == "#":
    return [
      _cell(text) if entry.rank is None else Cell(text, key=entry.rank)
      for text, entry in zip(field.cells, entries, strict=True)
    ]
  if field.title == "seeds":
    return [
      Cell(text, key=len(entry.seeds))
      for text, entry in zip(field.cells, entries, strict=True)
    ]
  return [_cell(text) for text in field.cells]


def _cell(text: str) -> Cell:
  """Splits "0.882 ± 0.006" into a number and its aside."""
  number, sign, spread = text.partition(" ± ")
  return Cell(number, f"± {spread}" if sign else "")


def _method(entry: Entry, style: Style) -> Cell:
  differs = entry.loss != entry.label and not entry.control
  content = _html().method(
    style.swatch(), entry.label, entry.data_view, differs and entry.loss
  )
  return Cell(content, key=entry.label)


def _intervals(entries: Sequence[Entry], key: str) -> list[Cell]:
  stats = [(entry.metrics.get(key), entry.se(key)) for entry in entries]
  ends = [
    end
    for stat, error in stats
    if stat
    for end in (
      *stat.by_seed.values(),
      stat.mean - (error or 0.0),
      stat.mean + (error or 0.0),
    )
    if math.isfinite(end)
  ]
  if not ends:
    return [Cell("") for _ in entries]
  bounds = min(ends), max(ends)
  mark = _MARKS.get(key)
  if mark is not None and not bounds[0] <= mark <= bounds[1]:
    mark = None
  return [
    Cell(
      pages.interval(stat.mean, error, stat.by_seed.values(), bounds, mark=mark)
      if stat
      else ""
    )
    for stat, error in stats
  ]


def _plain(fields: Sequence[tables.Field]) -> Table:
  heads = [
    Column(f.title, numeric=f.numeric, header=f.title == "method")
    for f in fields
  ]
  rows = zip(*(map(_cell, field.cells) for field in fields), strict=True)
  return Table(heads, list(rows), label=fields[0].title)


def _duels(group: Group) -> Table:
  labels = tables.duelists(group)
  heads = [Column("", numeric=True), Column("method", header=True)]
  heads += [
    Column(str(i), numeric=True, help=label)
    for i, label in enumerate(labels, start=1)
  ]
  breakable = pages.template("pages/parts.html").breakable
  rows = [
    [
      str(i),
      breakable(label),
      *(_duel(group, label, other) for other in labels),
    ]
    for i, label in enumerate(labels, start=1)
  ]
  return Table(
    heads, rows, label=f"Head to head of {group.key}", sortable=False
  )


def _duel(group: Group, a: str, b: str) -> Cell:
  stat = group.duels.get((a, b))
  if stat is None:
    return Cell("" if a != b else tables.NONE)
  said = f"{a} against {b}: {stat.mean:.3f}"
  if stat.se is not None:
    said += f" ± {stat.se:.3f}"
  said += f" ({stat.n} seed{'s' * (stat.n != 1)})"
  return Cell(f"{stat.mean:.2f}", shade=2 * stat.mean - 1, help=said)


def _failures(board: Board, names: Mapping[str, str]) -> Table:
  heads = [
    Column("board"),
    Column("method", header=True),
    Column("seed", numeric=True),
    Column("error"),
  ]
  rows = [
    [names[group.key], failure.label, str(failure.seed), failure.error]
    for group in board.groups
    for failure in group.failures
  ]
  return Table(heads, rows, label="Failed runs")


def _budgets(board: Board, names: Mapping[str, str]) -> Table:
  rows: list[list[Cell | Content]] = []
  for group in board.groups:
    entries = group.entries
    seeds = {seed for entry in entries for seed in entry.seeds}
    cpu = sum(sum(e.seconds["cpu"].by_seed.values()) for e in entries)
    rows.append(
      [
        names[group.key],
        budget_text(group.budget) if group.budget else "none is shared",
        str(len([entry for entry in entries if not entry.control])),
        str(len(seeds)),
        f"{cpu:,.0f}",
      ]
    )
  heads = [
    Column("board", header=True),
    Column("budget of every ranked run"),
    Column("methods", numeric=True),
    Column("seeds", numeric=True),
    Column("CPU s of all runs", numeric=True),
  ]
  return Table(heads, rows, label="Budget", sortable=False)


def _reproduce(board: Board, names: Mapping[str, str]) -> Markup:
  """Returns the commands of the whole board, and of each row."""
  boards: dict[tuple[str, str], dict[str, None]] = {}
  for group in board.groups:
    made = [(entry.label, entry.command) for entry in group.entries]
    made += [(failure.label, failure.command) for failure in group.failures]
    for row in made:
      boards.setdefault(row, {})[names[group.key]] = None
  folds: dict[tuple[str, ...], list[tuple[str, str]]] = {}
  for (label, command), named in boards.items():
    if command:
      folds.setdefault(tuple(named), []).append((label, command))
  return _html().reproduce(
    whole="\n".join([*filter(None, [board.meta.command]), REPRODUCE]),
    silent=sorted({label for label, command in boards if not command}),
    folds=list(folds.items()),
  )
