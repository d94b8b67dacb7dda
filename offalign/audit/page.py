"""The report as one self-contained page."""

import pathlib

from markupsafe import Markup, escape

from offalign import pages
from offalign.audit import console as text_lib
from offalign.audit import plots
from offalign.audit.findings import SEVERITIES, Finding
from offalign.audit.report import Report
from offalign.audit.scan import described
from offalign.data.reading.records import count
from offalign.errors import spoken
from offalign.pages import Cell, Column, Content, Section

_SHADES = {"error": -0.45, "warning": -0.18, "note": 0.0}


def page(report: Report) -> str:
  """Returns the page; it depends on nothing but the report."""
  sections = [
    Section("Findings", _findings(report)),
    Section("What is there", _overview(report), "Overview"),
  ]
  measures, facts = report.measures, report.facts
  if measures is not None and facts is not None:
    if measures.values:
      name = f"{facts.value.capitalize()}s"
      sections.append(Section(name, _values(report)))
    sections.append(Section("Lengths", _lengths(report)))
    sections.append(Section("Prompts", _prompts(report)))
  if report.tokens is not None and report.tokens.completions:
    sections.append(Section("Tokens", _tokens(report)))
  if report.methods is not None:
    sections.append(Section("Methods", _methods(report)))
  return pages.page(
    f"Audit of {pathlib.PurePath(described(report.scan)).name}",
    sections,
    lead=_lead(report),
  )


def _lead(report: Report) -> str:
  counts = [count(report.count(s), s) for s in SEVERITIES]
  met = report.scan
  said = f"{count(met.rows, 'row')}"
  if met.form:
    said += f" of form {met.form!r}"
  return f"{said}: {', '.join(counts[:-1])} and {counts[-1]}."


def _findings(report: Report) -> Markup:
  if not report.findings:
    return pages.paragraph("Nothing stands out.")
  rows: list[list[Cell | Content]] = [
    [Cell(found.severity, shade=_SHADES[found.severity]), _finding(found)]
    for found in report.findings
  ]
  columns = [Column("severity"), Column("finding, and what to do")]
  return pages.table(columns, rows, label="Findings", sortable=False)


def _finding(found: Finding) -> Markup:
  parts: list[Content] = [_sentence(spoken(found.what))]
  if found.remedy:
    parts.append(pages.paragraph(_sentence(spoken(found.remedy)), note=True))
  if found.where:
    parts.append(
      pages.fold(f"where: {_listed(found)}", pages.bullets(found.where))
    )
  return pages.join(*(escape(part) for part in parts))


def _sentence(words: str) -> str:
  return f"{words[0].upper()}{words[1:]}." if words else ""


def _listed(found: Finding) -> str:
  if found.count > len(found.where):
    return f"the first {len(found.where)} of {found.count:,}"
  return f"{found.count:,}"


def _overview(report: Report) -> Markup:
  rows = text_lib.overview(report)
  columns = [Column("", header=True), Column("")]
  return pages.table(columns, rows, label="Overview", sortable=False)


def _spreads(report: Report, kind: str) -> Markup:
  assert report.measures is not None
  found = report.measures.values if kind == "values" else report.measures.words
  head = text_lib.SPREAD_HEAD
  columns = [Column(head[0], header=True)]
  columns += [Column(name, numeric=True) for name in head[1:]]
  rows = [text_lib.spread_row(spread) for spread in found]
  label = "Rewards" if kind == "values" else "Words"
  return pages.table(columns, rows, label=label, sortable=False)


def _values(report: Report) -> Markup:
  assert report.measures is not None
  assert report.facts is not None
  parts = [_spreads(report, "values")]
  parts += [
    pages.paragraph(f"{text_lib.histogram(spread)}.", note=True)
    for spread in report.measures.values
    if report.facts.value == "reward"
  ]
  if report.facts.value == "reward":
    parts.append(plots.values(report))
  if report.measures.groups.several:
    parts.append(plots.means(report))
  return pages.join(*parts)


def _lengths(report: Report) -> Markup:
  assert report.measures is not None
  parts = [
    _spreads(report, "words"),
    pages.paragraph("Words are what white space parts.", note=True),
    plots.lengths(report),
  ]
  if report.measures.values:
    parts.append(plots.by_length(report))
  return pages.join(*parts)


def _prompts(report: Report) -> Markup:
  assert report.measures is not None
  found = report.measures.groups.sizes
  said = (
    f"{count(report.measures.groups.prompts, 'distinct prompt')}; "
    f"completions of a prompt: {text_lib.per_prompt(report)}."
  )
  if report.scan.form == "pairs":
    said += " A completion in several pairs of its prompt counts once."
  parts = [pages.paragraph(said)]
  if len(found) > text_lib.FEW_SIZES:
    parts.append(plots.sizes(report))
  return pages.join(*parts)


def _tokens(report: Report) -> Markup:
  head = text_lib.TOKEN_HEAD
  columns = [Column(head[0], header=True)]
  columns += [Column(name, numeric=True) for name in head[1:]]
  rows = text_lib.token_rows(report)
  return pages.join(
    pages.table(columns, rows, label="Tokens", sortable=False),
    plots.fitting(report),
  )


def _methods(report: Report) -> Markup:
  columns = [Column("methods that"), Column("why"), Column("methods")]
  rows = [
    [text_lib.MEANING[fit.verdict], fit.why, ", ".join(fit.methods)]
    for fit in report.methods or ()
  ]
  said = "What each method can read of these data; docs/losses.md has the rest."
  return pages.table(columns, rows, caption=said, label="Methods")
