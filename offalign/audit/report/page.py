"""The audit as one self-contained HTML page."""

import pathlib
from typing import Any

from markupsafe import Markup

from offalign import pages
from offalign.audit.findings import SEVERITIES, Finding
from offalign.audit.methods_that_fit import MEANING
from offalign.audit.report import overview, plots, tables
from offalign.audit.run import Report
from offalign.audit.scan.files import described
from offalign.audit.statistics.histogram import Spread
from offalign.audit.statistics.measures import Measures
from offalign.data.reading.records import count
from offalign.pages import Cell, Column, Content, Section, Table

_SHADES = {"error": -0.45, "warning": -0.18, "note": 0.0}


def page(report: Report) -> str:
  """Returns the page; it depends on nothing but the report."""
  html = _html()
  summary = _rows_named("Overview", ["", ""], overview.overview(report))
  table = pages.template("pages/parts.html").table
  sections = [
    Section("Findings", html.findings(_findings(report))),
    Section("What is there", table(summary), "Overview"),
  ]
  measures, facts = report.measures, report.facts
  if measures is not None and facts is not None:
    if measures.values:
      name = f"{facts.value.capitalize()}s"
      body = _values(report, measures, facts.value == "reward")
      sections.append(Section(name, body))
    sections.append(Section("Lengths", _lengths(report, measures)))
    sections.append(Section("Prompts", _prompts(report, measures)))
  if report.tokens is not None and report.tokens.completions:
    rows = tables.token_rows(report)
    lengths = _rows_named("Tokens", tables.TOKEN_HEAD, rows, numeric=True)
    body = html.tokens(lengths, plots.fitting(report))
    sections.append(Section("Tokens", body))
  if report.methods is not None:
    sections.append(Section("Methods", html.methods(_methods(report))))
  return pages.page(
    f"Audit of {pathlib.PurePath(described(report.scan)).name}",
    sections,
    lead=_lead(report),
  )


def _html() -> Any:
  return pages.template("audit/report/page.html")


def _lead(report: Report) -> str:
  counts = [count(report.count(s), s) for s in SEVERITIES]
  met = report.scan
  said = f"{count(met.rows, 'row')}"
  if met.form:
    said += f" of form {met.form!r}"
  return f"{said}: {', '.join(counts[:-1])} and {counts[-1]}."


def _findings(report: Report) -> Table:
  rows: list[list[Cell | Content]] = [
    [
      Cell(found.severity, shade=_SHADES[found.severity]),
      _finding(found.spoken()),
    ]
    for found in report.findings
  ]
  heads = [Column("severity"), Column("finding, and what to do")]
  return Table(heads, rows, label="Findings", sortable=False)


def _finding(found: Finding) -> Markup:
  where = f"{found.count:,}"
  if found.count > len(found.where):
    where = f"the first {len(found.where)} of {where}"
  return _html().finding(
    _sentence(found.what),
    _sentence(found.remedy),
    where,
    [f"{place}: {text}" if text else place for place, text in found.places()],
  )


def _sentence(words: str) -> str:
  return f"{words[0].upper()}{words[1:]}." if words else ""


def _rows_named(
  label: str,
  heads: list[str],
  rows: list[Any],
  *,
  numeric: bool = False,
) -> Table:
  """A table that does not sort, whose first column names the rows."""
  first, *rest = heads
  columns = [Column(first, header=True)]
  columns += [Column(head, numeric=numeric) for head in rest]
  return Table(columns, rows, label=label, sortable=False)


def _spreads(label: str, spreads: list[Spread]) -> Table:
  rows = [tables.spread_row(spread) for spread in spreads]
  return _rows_named(label, tables.SPREAD_HEAD, rows, numeric=True)


def _values(report: Report, measures: Measures, rewards: bool) -> Markup:
  histograms, figures = [], []
  if rewards:
    histograms = [tables.histogram(spread) for spread in measures.values]
    figures.append(plots.values(report))
  if measures.groups.several:
    figures.append(plots.means(report))
  spreads = _spreads("Rewards", measures.values)
  return _html().values(spreads, histograms, figures)


def _lengths(report: Report, measures: Measures) -> Markup:
  figures = [plots.lengths(report)]
  if measures.values:
    figures.append(plots.by_length(report))
  return _html().lengths(_spreads("Words", measures.words), figures)


def _prompts(report: Report, measures: Measures) -> Markup:
  many = len(measures.groups.sizes) > overview.FEW_SIZES
  return _html().prompts(
    distinct=count(measures.groups.prompts, "distinct prompt"),
    completions=overview.per_prompt(report),
    pairs=report.scan.form == "pairs",
    figure=plots.sizes(report) if many else "",
  )


def _methods(report: Report) -> Table:
  heads = [Column("methods that"), Column("why"), Column("methods")]
  rows = [
    [MEANING[fit.verdict], fit.why, ", ".join(fit.methods)]
    for fit in report.methods or ()
  ]
  return Table(heads, rows, label="Methods")
