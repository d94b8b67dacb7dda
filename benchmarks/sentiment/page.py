"""The report as one self-contained HTML page."""

from collections.abc import Sequence

from benchmarks.sentiment import plot, samples, text
from benchmarks.sentiment.folder import Completion
from benchmarks.sentiment.results import Results
from offalign import pages
from offalign.compare.page import Card, Shown, passage
from offalign.pages import Cell, Column, Content, Section, Table


def page(found: Results) -> str:
  """Returns the page; it depends on nothing but the results."""
  html = pages.template("compare/page.html")
  bullets = pages.template("pages/parts.html").bullets
  table = _table(text.HEAD, text.rows(found), "Test openings", faint=(0, 1))
  sections = [
    Section("What came of it", bullets(text.verdicts(found)), "In short"),
    Section(
      "Test openings", html.results(table, text.NOTES, plot.gains(found))
    ),
  ]
  if found.missing:
    sections.append(Section("What is missing", bullets(found.missing)))
  swept = _table(text.SWEEP_HEAD, text.sweep_rows(found), "Rates")
  sections += [
    Section("Rates", html.noted(swept, [text.sweep_note(found)])),
    Section("Samples before and after", html.articles(_samples(found))),
    Section("What it does not say", bullets(text.limits(found)), "Limits"),
    Section(
      "How it was made",
      bullets([*text.settings(found), *text.environment(found)]),
    ),
  ]
  return pages.page(text.TITLE, sections, lead=text.lead(found))


def _table(
  head: Sequence[str],
  rows: Sequence[Sequence[str]],
  label: str,
  faint: Sequence[int] = (),
) -> Table:
  columns = [
    Column(head[0], header=True),
    *(Column(title, numeric=title != "verdict") for title in head[1:]),
  ]
  made: list[list[Cell | Content]] = []
  for name, *rest in rows:
    made.append([name, *map(_cell, rest)])
  return Table(columns, made, label=label, faint=faint)


def _cell(said: str) -> Cell | Content:
  """A cell; "+0.1 [0.0, 0.2]" and "1.0 ± 0.1" have an aside."""
  for mark in (" [", " ± "):
    number, found, rest = said.partition(mark)
    if found:
      return Cell(number, f"{mark.strip()}{' ' if mark == ' ± ' else ''}{rest}")
  return said


def _samples(found: Results) -> list[Shown]:
  return [
    Shown(
      f"Opening {number}",
      passage(shown.opening),
      [],
      [
        _card("base", shown.before),
        *(_card(label, each) for label, each in shown.after),
      ],
    )
    for number, shown in enumerate(samples.choose(found), start=1)
  ]


def _card(name: str, each: Completion) -> Card:
  return Card(
    name, passage(samples.line(each)), "", "", f"score {each.reward:+.2f}"
  )
