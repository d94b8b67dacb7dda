"""Curves by step: what a run logged, as a figure of a page."""

import itertools
import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from offalign.pages.figures import STYLE, figure
from offalign.pages.marks import swatch

_WIDE, _NARROW = 7.2, 4.6  # inches
_HEIGHT = 2.7  # inches
_FEW = 40  # points that are drawn as dots too
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def curves(
  lines: Mapping[str, Sequence[tuple[int, float]]],
  title: str,
  caption: str,
  *,
  mark: float | None = None,
  run: str = "",
) -> Markup:
  """Draws what was logged against the step; "" where nothing finite was.

  Args:
    lines: name -> (step, value), steps rising.
    title: of the axis.
    caption: what the figure shows.
    mark: a reference value, drawn as a dashed line; None for none.
    run: whose curves they are, on a page with those of several runs.
  """
  kept = {
    name: [(x, y) for x, y in points if math.isfinite(y)]
    for name, points in lines.items()
  }
  kept = {name: points for name, points in kept.items() if points}
  if not kept:
    return Markup()
  styles = list(zip(kept, itertools.cycle(_COLOURS), strict=False))
  key = [(swatch(c, dashes=()), name) for name, c in styles]
  import matplotlib
  from matplotlib import ticker
  from matplotlib.figure import Figure

  with matplotlib.rc_context({**STYLE, "text.parse_math": False}):
    drawn = []
    for width in (_WIDE, _NARROW):
      drawing = Figure(figsize=(width, _HEIGHT), layout="constrained")
      axes = drawing.add_subplot()
      if mark is not None:
        axes.axhline(mark, color="#666666", linestyle="--", linewidth=1)
      for name, colour in styles:
        x, y = zip(*kept[name], strict=True)
        marker = "o" if len(x) < _FEW else ""
        axes.plot(x, y, color=colour, marker=marker, markersize=3)
      axes.set_xlabel("step")
      axes.set_ylabel(title)
      axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
      drawn.append(drawing)
    return figure(
      drawn[0],
      caption,
      narrow=drawn[1],
      key=key,
      always=True,
      label=f"{run}: {title} by step" if run else f"{title} by step",
    )
