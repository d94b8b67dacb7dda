"""Tables of lengths and rewards as text cells, for text, JSON and page."""

import math

from offalign.audit.checks.tokens import PARTS
from offalign.audit.run import Report
from offalign.audit.statistics.histogram import Spread

SPREAD_HEAD = ["", "n", "mean", "std", "min", "median", "p95", "max"]
TOKEN_HEAD = ["tokens", "n", "median", "p95", "p99", "max"]


def spread_row(spread: Spread) -> list[str]:
  """Formats a row of the table of rewards and lengths."""
  return [spread.name, f"{spread.n:,}"] + [
    number(x)
    for x in (
      spread.mean,
      spread.std,
      spread.low,
      spread.median,
      spread.p95,
      spread.high,
    )
  ]


def number(x: float) -> str:
  """Formats a number with four digits, a whole one whole."""
  if math.isfinite(x) and x == round(x) and abs(x) < 1e15:
    return f"{x:,.0f}"
  return f"{x:,.1f}" if abs(x) >= 1000 else f"{x:.4g}"


def token_rows(report: Report) -> list[list[str]]:
  """Formats the rows of the table of lengths in tokens."""
  tokens = report.tokens
  if tokens is None or not tokens.completions:
    return []
  return [
    [
      name,
      f"{tokens.completions:,}",
      *(f"{tokens.quantile(i, q):,}" for q in (0.5, 0.95, 0.99)),
      f"{tokens.longest[i]:,}",
    ]
    for i, name in enumerate(PARTS)
  ]


def histogram(spread: Spread) -> str:
  """Formats a histogram in a line: its bins from low to high."""
  low, high = spread.edges[0], spread.edges[-1]
  counts = " ".join(f"{n:,}" for n in spread.counts)
  return f"{spread.name} in ten equal bins of [{low:g}, {high:g}]: {counts}"
