"""The audit as text for a terminal."""

import textwrap

from offalign.audit.methods_that_fit import MEANING, VERDICTS
from offalign.audit.report import tables
from offalign.audit.report.overview import overview
from offalign.audit.run import Report
from offalign.data.reading.records import count

_WIDTH = 79


def table(head: list[str], rows: list[list[str]]) -> str:
  """Aligns columns, the first to the left."""
  widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
  return "\n".join(
    "  ".join(
      cell.ljust(w) if i == 0 else cell.rjust(w)
      for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in [head, *rows]
  )


def text(report: Report) -> str:
  """Returns the report for a terminal."""
  lines = overview(report)
  width = max(len(name) for name, _ in lines)
  parts = ["\n".join(f"{name:{width}}  {value}" for name, value in lines)]
  measures = report.measures
  if measures is not None:
    spreads = [*measures.values, *measures.words]
    rows = [tables.spread_row(s) for s in spreads]
    for row in rows[len(measures.values) :]:
      row[0] += ", words"
    parts.append(table(tables.SPREAD_HEAD, rows))
    if report.facts is not None and report.facts.value == "reward":
      parts += [tables.histogram(spread) for spread in measures.values]
  if rows := tables.token_rows(report):
    parts.append(table(tables.TOKEN_HEAD, rows))
  parts += [str(found.spoken()) for found in report.findings]
  if report.methods is not None:
    parts.append(methods(report))
  counts = [count(report.count(s), s) for s in ("error", "warning", "note")]
  parts.append(", ".join(counts))
  return "\n\n".join(parts)


def methods(report: Report) -> str:
  """Lists which methods fit, need a conversion, or cannot be used."""
  lines = []
  for verdict in VERDICTS:
    fits = [f for f in report.methods or () if f.verdict == verdict]
    if fits:
      lines.append(f"methods that {MEANING[verdict]}:")
    for fit in fits:
      lines += textwrap.wrap(
        f"{', '.join(fit.methods)}: {fit.why}",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
      )
  return "\n".join(lines)
