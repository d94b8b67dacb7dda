"""A comparison as one self-contained HTML page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from offalign import pages
from offalign.compare import plots
from offalign.compare import text as words
from offalign.compare.result import Comparison, Entry
from offalign.errors import render
from offalign.generation.completions import Completions
from offalign.judges.base import as_text
from offalign.pages import Cell, Column, Content, Section, Table
from offalign.policy.log_ratios import NATS

AT_MOST = 300
"""Prompts whose completions the page shows; the files have them all."""
SHORT = 600
"""Characters of a text that are shown before it is unfolded."""
_VERDICTS = {
  "win": "wins",
  "tie": "ties",
  "loss": "loses",
  "none": "no verdict",
}
_NOTHING = "(nothing)"


class Passage(NamedTuple):
  """A text as the page shows it.

  Attributes:
    head: the beginning, or all of it.
    rest: whether there is more.
    whole: all of it.
  """

  head: str
  rest: bool
  whole: str


class Card(NamedTuple):
  """A completion beside others of its prompt.

  Attributes:
    name: of the policy.
    text: the completion.
    outcome: against the baseline, one of `OUTCOMES`; "" for the baseline.
    verdict: the outcome in words.
    remark: the judge's score and the length.
  """

  name: str
  text: Passage
  outcome: str
  verdict: str
  remark: str


class Shown(NamedTuple):
  """A prompt with its completions.

  Attributes:
    title: a heading.
    text: the prompt.
    outcomes: of the policies other than the baseline.
    cards: the baseline's completion, then the others'.
  """

  title: str
  text: Passage
  outcomes: list[str]
  cards: list[Card]


def page(
  found: Comparison, first: Sequence[Section] = (), title: str = "Comparison"
) -> str:
  """Returns the page; it depends on nothing but its arguments.

  Args:
    found: the comparison.
    first: sections to be put before all others.
    title: of the page.
  """
  html = pages.template("compare/page.html")
  notes = [words.RATE, *([words.SCORE] if found.baseline.score else [])]
  results = html.results(_results(found), notes, plots.forest(found))
  names = [entry.name for entry in found.others]
  shown = _chosen(len(found.prompts))
  prompts = [_prompt(found, i) for i in shown]
  sections = [
    Section("Results", results),
    Section("Lengths", html.noted(_lengths(found), [words.LENGTHS])),
    Section("Training", html.noted(training(found.entries), [NATS])),
    Section(
      "Completions side by side",
      html.side_by_side(names, _how_many(found, shown), prompts),
      "Completions",
    ),
  ]
  if found.said:
    bullets = pages.template("pages/parts.html").bullets
    notes = [render(sentence) for sentence in found.said]
    sections.insert(3, Section("Notes", bullets(notes)))
  return pages.page(title, [*first, *sections], lead=words.lead(found))


def passage(text: str) -> Passage:
  """Shortens a text to `SHORT` characters, unless little is gained."""
  whole = text if text.strip() else _NOTHING
  if len(whole) <= SHORT * 1.2:
    return Passage(whole, False, whole)
  return Passage(whole[:SHORT].rstrip(), True, whole)


def _results(found: Comparison) -> Table:
  heads = [Column(words.RESULT_HEAD[0], header=True)]
  heads += [
    Column(title, numeric=True, first="descending")
    for title in words.RESULT_HEAD[2:]
  ]
  policy = pages.template("compare/page.html").policy
  rows = []
  for entry in found.entries:
    name, kind, *rest = words.result_row(entry)
    rows.append([Cell(policy(name, kind), key=name), *_cells(rest)])
  return Table(heads, rows, label="Results", faint=[0])


def training(entries: Sequence[Entry]) -> Table:
  """The table of what each policy's training took and reached."""
  heads = [Column(words.TRAINING_HEAD[0], header=True)]
  heads += [Column(title, numeric=True) for title in words.TRAINING_HEAD[1:]]
  rows = [
    [name, *_cells(rest)] for name, *rest in map(words.training_row, entries)
  ]
  return Table(heads, rows, label="Training")


def _lengths(found: Comparison) -> Table:
  heads = [Column(words.LENGTHS_HEAD[0], header=True)]
  heads += [Column(title, numeric=True) for title in words.LENGTHS_HEAD[1:]]
  rows = [
    [name, *_cells(rest)]
    for name, *rest in map(words.lengths_row, found.entries)
  ]
  return Table(heads, rows, label="Lengths")


def _cells(texts: Sequence[str]) -> list[Cell | Content]:
  """Cells; "0.750 [0.4, 0.9]" has its interval as the aside."""
  out: list[Cell | Content] = []
  for text in texts:
    number, bracket, rest = text.partition(" [")
    out.append(Cell(number, f"[{rest}" if bracket else ""))
  return out


def _chosen(prompts: int) -> list[int]:
  """Which prompts are shown: all, or some that lie evenly among them."""
  most = min(prompts, AT_MOST)
  return sorted({int(i) for i in np.linspace(0, prompts - 1, most)})


def _how_many(found: Comparison, shown: Sequence[int]) -> str:
  said = f"The baseline, {found.baseline.name}, comes first."
  if len(shown) < len(found.prompts):
    said += (
      f" {len(shown):,} of {len(found.prompts):,} prompts are shown, evenly "
      "spread; the folder completions/ has them all."
    )
  return said


def _prompt(found: Comparison, i: int) -> Shown:
  return Shown(
    f"Prompt {i + 1:,}",
    passage(as_text(found.prompts[i])),
    [entry.outcomes[i] if entry.outcomes else "none" for entry in found.others],
    [_card(entry, i) for entry in found.entries],
  )


def length_of(written: Completions, i: int) -> str:
  """How long a completion is, and whether it did not end."""
  said = f"{len(written.texts[i]):,} characters"
  cut = written.ends and written.ends[i].finished is False
  return f"{said}, unfinished" if cut else said


def _card(entry: Entry, i: int) -> Card:
  outcome = entry.outcomes[i] if entry.outcomes else ""
  written = entry.written
  parts = [f"score {entry.scores[i]:.4g}"] if entry.scores else []
  parts.append(length_of(written, i))
  return Card(
    entry.name,
    passage(written.texts[i]),
    outcome,
    _VERDICTS.get(outcome, "") if entry.duel else "baseline",
    ", ".join(parts),
  )
