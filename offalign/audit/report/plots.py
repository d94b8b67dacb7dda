"""Plots of the audit's page: rewards, lengths, tokens, prompts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offalign import pages
from offalign.audit.checks.tokens import PARTS
from offalign.audit.run import Report
from offalign.pages.figures import STYLE

_COLOURS = ("#0072B2", "#D55E00")
_WIDE, _NARROW, _HEIGHT = 7.2, 4.6, 2.7  # inches
_BINS = 40
_TENTHS = 10
_FEW = 12  # values that are levels and not a scale
_WHOLE = ticker.FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else "")
Draw = Callable[[Axes], None]


def values(report: Report) -> Markup:
  """Plots the distribution of rewards (or labels)."""
  assert report.measures is not None
  assert report.facts is not None
  name = report.facts.value
  parts = _sides(report, "value")
  ends = _ends([part for _, part in parts])
  counts = [np.histogram(p, _BINS, ends)[0] for _, p in parts]
  few = len(np.unique(np.concatenate([p for _, p in parts]))) <= _FEW
  steep = not few and any(c.max() > c.sum() / 2 for c in counts)

  def draw(axes: Axes) -> None:
    edges = np.linspace(*ends, _BINS + 1)
    for colour, (side, _), found in zip(_COLOURS, parts, counts, strict=False):
      axes.stairs(found, edges, fill=True, color=colour, alpha=0.65, label=side)
    axes.set_xlabel(name)
    axes.set_ylabel("completions")
    if steep:
      axes.set_yscale("log", nonpositive="clip")
      axes.set_ylim(bottom=0.7)

  caption = f"Completions by {name}"
  caption += ", on a logarithmic scale." if steep else "."
  return _figure(draw, caption, [side for side, _ in parts])


def means(report: Report) -> Markup:
  """Plots the distribution of the prompts' mean values."""
  assert report.measures is not None
  assert report.facts is not None
  name = report.facts.value
  rows = report.measures.groups.means.rows
  found, edges = np.histogram(rows, _BINS // 2, _range(report))

  def draw(axes: Axes) -> None:
    axes.stairs(found, edges, fill=True, color=_COLOURS[0], alpha=0.65)
    axes.set_xlabel(f"mean {name} of a prompt's completions")
    axes.set_ylabel("prompts")

  return _figure(
    draw,
    f"Prompts with several completions by their mean {name}: the wider this "
    "is, the more a value function or a threshold by prompt matters.",
  )


def lengths(report: Report) -> Markup:
  """Plots the lengths of completions in words."""
  parts = [(n, np.maximum(p, 1)) for n, p in _sides(report, "words")]
  least, top = _ends([part for _, part in parts])

  def draw(axes: Axes) -> None:
    edges = np.geomspace(least, top + 1, _BINS + 1)
    # Bins between whole numbers that hold none would look like gaps.
    edges = np.unique(np.round(edges) - 0.5)
    for colour, (side, part) in zip(_COLOURS, parts, strict=False):
      found = np.histogram(part, edges)[0]
      axes.stairs(found, edges, fill=True, color=colour, alpha=0.65, label=side)
    axes.set_xscale("log")
    axes.set_xlabel("words")
    axes.set_ylabel("completions")
    _plain_ticks(axes)

  return _figure(
    draw,
    "Completions by their length in words; the bins widen with it.",
    [side for side, _ in parts],
  )


def by_length(report: Report) -> Markup:
  """Plots the mean value against length."""
  assert report.measures is not None
  assert report.facts is not None
  name = report.facts.value
  rows = report.measures.sample.rows
  rows = rows[~np.isnan(rows["value"])]
  rows = rows[np.argsort(rows["words"], kind="stable")]
  parts = [p for p in np.array_split(rows, _TENTHS) if len(p)]
  x = [max(float(np.median(p["words"])), 1.0) for p in parts]
  y = [float(p["value"].mean()) for p in parts]
  error = [float(p["value"].std() / len(p) ** 0.5) for p in parts]

  def draw(axes: Axes) -> None:
    axes.errorbar(x, y, error, color=_COLOURS[0], marker="o", capsize=2)
    axes.set_xscale("log")
    axes.set_xlabel("words (median of each tenth of the completions)")
    axes.set_ylabel(f"mean {name}")
    _plain_ticks(axes)

  return _figure(
    draw,
    f"Mean {name} of each tenth of the completions, from the shortest to the "
    "longest, with its standard error.",
  )


def fitting(report: Report) -> Markup:
  """Plots the share of texts that fit a limit in tokens."""
  assert report.tokens is not None
  rows = report.tokens.lengths.rows
  limits = report.tokens.limits

  def draw(axes: Axes) -> None:
    for colour, name, limit in zip(_COLOURS, PARTS, limits, strict=True):
      x = np.sort(np.maximum(rows[name], 1))
      steps = np.unique(np.linspace(0, len(x) - 1, 400).astype(int))
      share = 100 * (steps + 1) / len(x)
      axes.plot(
        x[steps], share, color=colour, drawstyle="steps-post", label=name
      )
      if limit is not None:
        axes.axvline(limit, color=colour, linestyle="--", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("tokens")
    axes.set_ylabel("% that fit")
    axes.set_ylim(0, 103)
    axes.xaxis.set_major_formatter(_WHOLE)

  said = "; dashed, the limits given" if any(limits) else ""
  return _figure(
    draw,
    f"Share of prompts and completions that a limit keeps whole{said}.",
    PARTS,
  )


def sizes(report: Report) -> Markup:
  """Plots how many completions prompts have."""
  assert report.measures is not None
  found = report.measures.groups.sizes

  def draw(axes: Axes) -> None:
    keys = sorted(found)
    axes.bar(keys, [found[k] for k in keys], color=_COLOURS[0], alpha=0.65)
    axes.set_xlabel("completions of a prompt (K)")
    axes.set_ylabel("prompts")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))

  return _figure(draw, "Prompts by the number of their completions.")


def _sides(report: Report, field: str) -> list[tuple[str, Any]]:
  """[(name, numbers)] of the sample: one, or a pair's two sides."""
  assert report.measures is not None
  assert report.facts is not None
  rows = report.measures.sample.rows
  rows = rows[~np.isnan(rows["value"])] if field == "value" else rows
  if report.facts.ranked:
    names = ("chosen", "rejected")
    return [(n, rows[field][rows["side"] == i]) for i, n in enumerate(names)]
  return [("", rows[field])]


def _range(report: Report) -> tuple[float, float]:
  """Returns the least and the largest value, which bound prompts' means."""
  assert report.measures is not None
  spreads = report.measures.values
  low = min(spread.low for spread in spreads)
  high = max(spread.high for spread in spreads)
  return (low - 0.5, high + 0.5) if low == high else (low, high)


def _ends(parts: Sequence[Any]) -> tuple[float, float]:
  low = min(float(part.min()) for part in parts)
  high = max(float(part.max()) for part in parts)
  return (low - 0.5, high + 0.5) if low == high else (low, high)


def _plain_ticks(axes: Axes) -> None:
  """Labels a logarithmic axis with as many whole numbers as fit."""
  low, high = axes.get_xlim()
  decades = math.log10(high / low)
  within = (1, 2, 3, 5) if decades < 1.5 else (1, 2, 5)
  axes.xaxis.set_major_locator(
    ticker.LogLocator(10, within if decades < 2.5 else (1, 3))
  )
  axes.xaxis.set_major_formatter(_WHOLE)
  axes.xaxis.set_minor_locator(ticker.NullLocator())


def _figure(draw: Draw, caption: str, names: Sequence[str] = ()) -> Markup:
  """Draws a figure in two widths."""

  def picture(width: float, legend: bool) -> Figure:
    figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    if legend:
      axes.legend(frameon=False)
    return figure

  two = len(names) > 1  # the page shows the key with the narrow picture
  swatches = [pages.swatch(colour, marker="s") for colour in _COLOURS]
  key = list(zip(swatches, names, strict=True)) if two else []
  with matplotlib.rc_context(STYLE):
    wide, narrow = picture(_WIDE, two), picture(_NARROW, False)
    return pages.figure(wide, caption, narrow=narrow, key=key)
