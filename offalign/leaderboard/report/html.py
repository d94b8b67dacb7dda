"""The board as one self-contained page."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from offalign import pages
from offalign.leaderboard.board import Board, Group
from offalign.leaderboard.ranking import budget_text
from offalign.leaderboard.report import group as html_group
from offalign.leaderboard.report import palette, tables
from offalign.leaderboard.report.markdown import REPRODUCE
from offalign.pages import Cell, Column, Section


def render_html(board: Board, figures: Mapping[str, Sequence[Markup]]) -> str:
  """Returns the report.

  Args:
    board: what to report.
    figures: group key -> its pictures, with captions.

  Returns:
    HTML that depends on nothing but the arguments: no clock, no paths of
    this machine.
  """
  meta = board.meta
  names = short_names(board.groups)
  styles = palette.styles(board)
  sections = []
  if meta.verdicts:
    sections.append(Section("Verdicts", pages.bullets(meta.verdicts)))
  for group in board.groups:
    drawn = figures.get(group.key, ())
    points = meta.points(group.track, group.scenario, group.model)
    body = html_group.render(group, points, drawn, styles)
    sections.append(Section(names[group.key], body))
  sections += [
    Section("Failed runs", _failures(board, names)),
    Section("Budget and environment", _budget(board, names), "Budget"),
    Section("How to reproduce", _reproduce(board, names), "Reproduce"),
    Section("How to read the tables", _reading(board), "Reading", "reading"),
  ]
  if board.problems or meta.notes:
    notes = pages.bullets([*board.problems, *meta.notes])
    sections.append(Section("Notes", notes))
  return pages.page(meta.title, sections, lead=meta.scale)


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


def _failures(board: Board, names: Mapping[str, str]) -> Markup:
  rows = [
    [names[group.key], failure.label, str(failure.seed), failure.error]
    for group in board.groups
    for failure in group.failures
  ]
  if not rows:
    return pages.paragraph("Every run ended well.")
  columns = [
    Column("board"),
    Column("method", header=True),
    Column("seed", numeric=True),
    Column("error"),
  ]
  said = f"Of {board.rows} runs {len(rows)} failed; they are in no mean."
  return pages.table(columns, rows, caption=said, label="Failed runs")


def _budget(board: Board, names: Mapping[str, str]) -> Markup:
  rows: list[list[Cell | str]] = []
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
        Cell(f"{cpu:,.0f}", key=cpu),
      ]
    )
  columns = [
    Column("board", header=True),
    Column("budget of every ranked run"),
    Column("methods", numeric=True),
    Column("seeds", numeric=True),
    Column("CPU s of all runs", numeric=True),
  ]
  return pages.join(
    pages.table(columns, rows, label="Budget", sortable=False),
    pages.heading("Environment"),
    pages.bullets(tables.environments(board)),
  )


def _reproduce(board: Board, names: Mapping[str, str]) -> Markup:
  """The commands of the whole board, and of each row."""
  whole = "\n".join([*filter(None, [board.meta.command]), REPRODUCE])
  parts = [
    pages.paragraph("The whole board, and this report from its rows:"),
    pages.command(whole),
  ]
  rows: dict[tuple[str, str], list[str]] = {}
  for group in board.groups:
    named = [(entry.command, entry.label) for entry in group.entries]
    named += [(bad.command, bad.label) for bad in group.failures]
    for pair in named:
      boards = rows.setdefault(pair, [])
      if names[group.key] not in boards:
        boards.append(names[group.key])
  unsaid = sorted({label for command, label in rows if not command})
  if unsaid:
    parts.append(
      pages.paragraph(f"The rows of {', '.join(unsaid)} name no command.")
    )
  shared: dict[tuple[str, ...], list[tuple[str, str]]] = {}
  for (command, label), boards in rows.items():
    if command:
      shared.setdefault(tuple(boards), []).append((command, label))
  for (first, *others), pairs in shared.items():
    more = f" and {len(others)} more" if others else ""
    summary = f"{first}{more}: {len(pairs)} row{'s' * (len(pairs) != 1)}"
    lines = [
      pages.join(pages.label(label), pages.command(command))
      for command, label in pairs
    ]
    parts.append(pages.fold(summary, *lines))
  return pages.join(*parts)


def _reading(board: Board) -> Markup:
  return pages.join(
    pages.bullets(tables.legend(board.groups)),
    pages.paragraph(
      "A click on a heading sorts a table, another turns the order around. "
      "In the strip beside a column, the dot is the mean, the line the "
      "standard deviation and the strokes are the seeds."
    ),
  )
