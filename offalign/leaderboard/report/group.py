"""One group of the board on the page."""

import math
import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from offalign import pages
from offalign.leaderboard import columns, samples
from offalign.leaderboard.board import Entry, Group
from offalign.leaderboard.meta import Point
from offalign.leaderboard.ranking import budget_text
from offalign.leaderboard.report import tables
from offalign.leaderboard.report.palette import Style
from offalign.leaderboard.rows import Sample
from offalign.pages import Cell, Column

_BEST = 3  # methods whose samples are shown
_SHORT = 48  # characters of a completion that fits into a table
_MARKS = {"win_vs_sft": 0.5, "win_vs_ref": 0.5, "reward_gain": 0.0}
_NOTHING = "(nothing)"
Styles = Mapping[str, Style]


def render(
  group: Group,
  points: Sequence[Point],
  figures: Sequence[Markup],
  styles: Styles,
) -> Markup:
  """Returns the group's section.

  Args:
    group: the methods that are compared.
    points: the oracle's, for its table.
    figures: the group's pictures, with captions.
    styles: label -> style.
  """
  parts = [pages.paragraph(_model(group), note=True)]
  shown = [*group.ranked, *group.controls]
  if shown:
    caption = Markup('{} <a href="#reading">What the columns say</a>').format(
      tables.caption(group)
    )
    parts.append(_board(group, shown, styles, caption))
  else:
    parts.append(pages.paragraph(tables.caption(group)))
  if group.controls:
    said = "The faint lines are controls, which are not ranked."
    parts.append(pages.paragraph(said, note=True))
  if group.notes:
    parts.append(pages.bullets(group.notes))
  parts += _unranked(group, styles)
  parts += figures
  if group.duels:
    parts += [pages.heading("Head to head"), _duels(group)]
  parts += _samples(group)
  if points:
    fields = tables.oracle_fields(points)
    parts.append(pages.fold("Oracle", table(fields)))
  further = tables.further_fields(group)
  further += tables.cost_fields(group.entries)
  if group.entries:
    parts.append(pages.fold("Further metrics, time and memory", table(further)))
  return pages.join(*parts)


def _model(group: Group) -> Markup:
  return Markup("Model: <code>{}</code>").format(breakable(group.model))


def _unranked(group: Group, styles: Styles) -> list[Markup]:
  parts = []
  for reason in dict.fromkeys(entry.reason for entry in group.unranked):
    same = [entry for entry in group.unranked if entry.reason == reason]
    parts.append(pages.heading(f"Not ranked: {reason}"))
    parts.append(_board(group, same, styles, "", budget=True))
  return parts


def _board(
  group: Group,
  entries: Sequence[Entry],
  styles: Styles,
  caption: str,
  *,
  budget: bool = False,
) -> Markup:
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
        Column("± sd, seeds", sortable=False, help="mean, spread and seeds")
      )
      cells.append(_intervals(entries, field.key))
  if budget:
    heads.append(Column("budget"))
    cells.append([Cell(budget_text(entry.budget)) for entry in entries])
  return pages.table(
    heads,
    list(zip(*cells, strict=True)),
    caption=caption,
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
    return [
      Cell(_name(entry, styles[entry.label]), key=entry.label)
      for entry in entries
    ]
  if field.title == "seeds":
    return [
      Cell(text, key=len(entry.seeds))
      for text, entry in zip(field.cells, entries, strict=True)
    ]
  return [cell(text) for text in field.cells]


def cell(text: str) -> Cell:
  """Splits "0.882 ± 0.006" into a number and its aside."""
  number, sign, spread = text.partition(" ± ")
  return Cell(number, f"± {spread}" if sign else "")


def _name(entry: Entry, style: Style) -> Markup:
  """The method, and under it what it saw, and its loss where that differs."""
  about = [breakable(entry.data_view)] if entry.data_view else []
  if entry.loss != entry.label and not entry.control:
    about.append(Markup("<code>{}</code>").format(breakable(entry.loss)))
  return Markup('{}{}<span class="about">{}</span>').format(
    style.swatch(), breakable(entry.label), Markup("; ").join(about)
  )


def breakable(text: str) -> Markup:
  """Lets a spec break where its parts begin."""
  pieces = re.split(r"(?<=[_(])", text)
  return Markup("<wbr>").join(map(escape, pieces))


def _intervals(entries: Sequence[Entry], key: str) -> list[Cell]:
  stats = [entry.metrics.get(key) for entry in entries]
  ends = [
    end
    for stat in stats
    if stat
    for end in (
      *stat.by_seed.values(),
      stat.mean - (stat.sd or 0.0),
      stat.mean + (stat.sd or 0.0),
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
      pages.interval(
        stat.mean, stat.sd, stat.by_seed.values(), bounds, mark=mark
      )
      if stat
      else ""
    )
    for stat in stats
  ]


def table(fields: Sequence[tables.Field]) -> Markup:
  """A plain table of fields that sorts."""
  heads = [
    Column(f.title, numeric=f.numeric, header=f.title == "method")
    for f in fields
  ]
  rows = zip(*([cell(text) for text in f.cells] for f in fields), strict=True)
  return pages.table(heads, list(rows), label=fields[0].title)


def _duels(group: Group) -> Markup:
  labels = tables.duelists(group)
  heads = [Column("", numeric=True), Column("method", header=True)]
  heads += [
    Column(str(i), numeric=True, help=label)
    for i, label in enumerate(labels, start=1)
  ]
  rows = [
    [
      Cell(str(i)),
      Cell(breakable(label)),
      *(_duel(group, label, other) for other in labels),
    ]
    for i, label in enumerate(labels, start=1)
  ]
  return pages.table(
    heads,
    rows,
    caption="Win rate of the line's method against the column's on the same "
    "prompts and seed, mean over seeds; blue where it wins, orange where it "
    "loses.",
    label=f"Head to head of {group.key}",
    sortable=False,
  )


def _duel(group: Group, a: str, b: str) -> Cell:
  stat = group.duels.get((a, b))
  if stat is None:
    return Cell("" if a != b else tables.NONE)
  said = f"{a} against {b}: {stat.mean:.3f}"
  if stat.sd is not None:
    said += f" ± {stat.sd:.3f}"
  said += f" ({stat.n} seed{'s' * (stat.n != 1)})"
  shade = 2 * stat.mean - 1
  return Cell(f"{stat.mean:.2f}", shade=shade, help=said)


def _samples(group: Group) -> list[Markup]:
  entries, prompts = samples.side_by_side(group, _BEST)
  if not prompts:
    return []
  said = (
    "What the best methods wrote for the same prompts, one sample each, with "
    "the judge's reward."
  )
  lengths = [len(s.completion) for _, found in prompts for s in found if s]
  if max(lengths) <= _SHORT:
    return [pages.heading("Samples"), _samples_table(entries, prompts, said)]
  parts = [pages.heading("Samples"), pages.paragraph(said, note=True)]
  for prompt, found in prompts:
    shown = [
      (entry.label, sample.completion or _NOTHING, f"{sample.reward:+.2f}")
      for entry, sample in zip(entries, found, strict=True)
      if sample
    ]
    parts += [pages.label(prompt), pages.cards(shown)]
  return parts


def _samples_table(
  entries: Sequence[Entry],
  prompts: Sequence[tuple[str, Sequence[Sample | None]]],
  said: str,
) -> Markup:
  heads = [Column("prompt", header=True)]
  heads += [Column(entry.label) for entry in entries]
  code = Markup("<code>{}</code>").format
  rows = [
    [
      code(prompt),
      *(
        Cell(code(s.completion or _NOTHING), f"{s.reward:+.2f}") if s else ""
        for s in found
      ),
    ]
    for prompt, found in prompts
  ]
  return pages.table(heads, rows, caption=said, label="Samples", sortable=False)
