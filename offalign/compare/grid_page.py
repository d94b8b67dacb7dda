"""The sections of a sweep on its page, in Markdown, JSON and on the console."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from offalign import pages
from offalign.compare import grid as grid_lib
from offalign.compare import text as words
from offalign.compare.grid import LOSS, SCORE, WIN, Grid, Option, Slot
from offalign.compare.page import training
from offalign.compare.text import NONE
from offalign.errors import printable, render
from offalign.leaderboard.rows import jsonable
from offalign.pages import Cell, Column, Content, Section, Table
from offalign.policy.log_ratios import NATS

TITLE = "Sweep"
UNJUDGED = (
  "No judge was given, so that nothing was generated: what is shown are "
  "held-out figures of the runs. A judge says which policy writes better."
)
_MEASURES = (WIN, SCORE, grid_lib.ACCURACY, grid_lib.AUC, LOSS)
_INTERVAL = (
  "Means over seeds with 95% intervals: Student's over the seeds and, where "
  "prompts or held-out rows are known, the normal one over these, added as "
  "squares. Of one seed, the interval is over prompts alone."
)
_SAMPLED = (
  "KL: nats a completion from what the runs started from, KL(pi || ref), "
  "estimated on the policies' own completions of the prompts."
)
_LOGGED = (
  "Nats: mean log-ratios of logged held-out completions to the reference, "
  "chosen and rejected together where there are pairs; not KL(pi || ref), "
  "which is a mean over completions that the policy itself writes."
)


def sections(found: Grid) -> list[Section]:
  """What a sweep adds to a page: the grid, the options, what failed."""
  html = pages.template("compare/page.html")
  notes: list[Content] = []
  verdict = found.verdict()
  if verdict:
    notes.append(verdict)
  if found.unjudged:
    notes.append(found.unjudged)
  notes.append(_cells_are(found))
  out = [Section("Grid", html.noted(_grid(found), notes))]
  shown = [_INTERVAL, _moved(found)]
  out.append(Section("Options", html.noted(_options(found), shown)))
  if found.failed:
    failed: list[Sequence[Cell | Content]] = [
      [slot.name, render(slot.why)] for slot in found.failed
    ]
    table = Table(
      [Column("cell", header=True), Column("what happened")],
      failed,
      label="Failed cells",
    )
    note = "The same command tries failed cells again, but for diverged ones."
    out.append(Section("Failed cells", html.noted(table, [note])))
  return out


def page(found: Grid) -> str:
  """The whole page of a sweep that no judge compared."""
  html = pages.template("compare/page.html")
  trained = [
    slot.entry for one in found.options for slot in one.slots if slot.entry
  ]
  parts = sections(found)
  if trained:
    table = html.noted(training(trained), [NATS])
    parts.append(Section("Training", table))
  if found.said:
    bullets = pages.template("pages/parts.html").bullets
    parts.append(Section("Notes", bullets([render(x) for x in found.said])))
  return pages.page(TITLE, parts, lead=lead(found))


def lead(found: Grid) -> str:
  """How many cells of what."""
  cells = sum(len(one.slots) for one in found.options)
  done = sum(bool(x.entry) for one in found.options for x in one.slots)
  said = f"{done:,} of {cells:,} cells are trained"
  if found.failed:
    said += f", {len(found.failed):,} failed"
  return f"{said}. Options: {', '.join(one.label for one in found.options)}."


def markdown(found: Grid) -> str:
  """The grid and the options as Markdown."""
  head = ["option", *(f"seed {seed}" for seed in found.seeds)]
  body = [
    [one.label, *(_cell_text(found, slot) for slot in _by_seed(found, one))]
    for one in found.options
  ]
  parts = ["## Grid", _cells_are(found), words.table(head, body)]
  if found.unjudged:
    parts.insert(1, found.unjudged)
  if found.verdict():
    parts.append(found.verdict())
  shown = _having(found)
  head = ["option", "seeds", *shown, _moved_name(found)]
  body = [[one.label, *_option_texts(one, shown)] for one in found.options]
  parts += ["## Options", words.table(head, body), _INTERVAL, _moved(found)]
  if found.failed:
    listed = [f"* {slot.name}: {render(slot.why)}" for slot in found.failed]
    parts += ["## Failed cells", "\n".join(listed)]
  return printable("\n\n".join(parts)) + "\n"


def as_record(found: Grid) -> dict[str, Any]:
  """All of it as JSON."""
  return jsonable(
    {
      "measure": found.measure,
      "judged": found.comparison is not None,
      "best": found.best,
      "verdict": found.verdict(),
      "kl": "sampled" if found.sampled else "logged",
      "options": [
        {
          "label": one.label,
          "kl": one.kl,
          "means": {k: dataclasses.asdict(x) for k, x in one.spreads.items()},
          "cells": [
            {
              "name": slot.name,
              "seed": slot.seed,
              "values": dict(slot.values),
              "kl": slot.kl,
              "failed": slot.why or None,
            }
            for slot in one.slots
          ],
        }
        for one in found.options
      ],
      "notes": [render(sentence) for sentence in found.said],
    }
  )


def console(found: Grid) -> list[str]:
  """A line for each option, then the verdict."""
  lines = []
  for one in found.options:
    parts = [f"{name} {grid_lib.text(x)}" for name, x in one.spreads.items()]
    if one.kl is not None:
      parts.append(f"{_moved_name(found)} {one.kl:.3g}")
    lines.append(f"{one.label}: {', '.join(parts) or 'nothing trained'}")
  lines += filter(None, [found.verdict()])
  return lines


def _moved_name(found: Grid) -> str:
  return "KL" if found.sampled else "nats"


def _moved(found: Grid) -> str:
  return _SAMPLED if found.sampled else _LOGGED


def _cells_are(found: Grid) -> str:
  if not found.measure:
    return "No cell is trained."
  base = ""
  if found.measure == WIN and found.comparison is not None:
    base = f" against {found.comparison.baseline.name}"
  moved = "KL in nats a completion"
  if not found.sampled:
    moved = "nats from the reference"
  return f"In each cell: {found.measure}{base}, and beside it {moved}."


def _having(found: Grid) -> list[str]:
  return [
    name
    for name in _MEASURES
    if any(name in one.spreads for one in found.options)
  ]


def _by_seed(found: Grid, one: Option) -> list[Slot | None]:
  known = {slot.seed: slot for slot in one.slots}
  return [known.get(seed) for seed in found.seeds]


def _grid(found: Grid) -> Table:
  heads = [Column("option", header=True)]
  heads += [Column(f"seed {seed}", numeric=True) for seed in found.seeds]
  heads.append(Column("mean", numeric=True))
  rows: list[Sequence[Cell | Content]] = []
  for one in found.options:
    mean = one.spreads.get(found.measure)
    label: Content = one.label
    if one.label == found.best:
      label = f"{one.label} (best)"
    rows.append(
      [
        Cell(label, key=one.label),
        *(_cell(found, slot) for slot in _by_seed(found, one)),
        NONE if mean is None else _bracketed(grid_lib.text(mean)),
      ]
    )
  return Table(heads, rows, label="Grid")


def _cell(found: Grid, slot: Slot | None) -> Cell | Content:
  if slot is None or (slot.entry is None and not slot.why):
    return NONE
  if slot.why:
    return Cell("failed", help=render(slot.why))
  value = slot.values.get(found.measure)
  said = NONE if value is None else f"{value:.3g}"
  if value is None and slot.entry is not None and slot.entry.duel is None:
    said = "baseline"
  shade = 0.0
  if value is not None and found.measure in (WIN, *_MEASURES[2:4]):
    shade = value - 0.5  # at most half, so that the aside can be read
  aside = "" if slot.kl is None else f"{_moved_name(found)} {slot.kl:.2f}"
  return Cell(said, aside, shade=shade)


def _cell_text(found: Grid, slot: Slot | None) -> str:
  cell = _cell(found, slot)
  if not isinstance(cell, Cell):
    return str(cell)
  return f"{cell.content}, {cell.aside}" if cell.aside else str(cell.content)


def _options(found: Grid) -> Table:
  shown = _having(found)
  heads = [Column("option", header=True), Column("seeds", numeric=True)]
  heads += [Column(name, numeric=True, first="descending") for name in shown]
  heads.append(Column(_moved_name(found), numeric=True))
  rows: list[Sequence[Cell | Content]] = [
    [one.label, *map(_bracketed, _option_texts(one, shown))]
    for one in found.options
  ]
  return Table(heads, rows, label="Options")


def _option_texts(one: Option, shown: Sequence[str]) -> list[str]:
  trained = sum(slot.entry is not None for slot in one.slots)
  return [
    f"{trained:,} of {len(one.slots):,}",
    *(
      grid_lib.text(one.spreads[name]) if name in one.spreads else NONE
      for name in shown
    ),
    NONE if one.kl is None or math.isnan(one.kl) else f"{one.kl:.3g}",
  ]


def _bracketed(text: str) -> Cell:
  number, bracket, rest = text.partition(" [")
  return Cell(number, f"[{rest}" if bracket else "")
