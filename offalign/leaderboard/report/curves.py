"""Learning curves: one metric of every method against the step."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from offalign import pages
from offalign.leaderboard import columns
from offalign.leaderboard.board import Entry, Group
from offalign.leaderboard.report import placement
from offalign.leaderboard.report.palette import Style

if TYPE_CHECKING:
  from matplotlib.axes import Axes

_METRICS = ("win_vs_sft", "win_vs_ref", "reward_gain", "reward", "regret")
_LABEL = 8.5  # points
_LINE = 0.24  # inches for a label of the right margin
_NARROW = (4.6, 3.8)  # inches


def figure(
  group: Group, styles: Mapping[str, Style], *, narrow: bool = False
) -> tuple[Figure, str] | None:
  """Draws the learning curves of the ranked methods.

  Args:
    group: the metric is the one that ranks it, or else the first of win
      rate, reward and regret that has curves, or else any.
    styles: label -> style.
    narrow: for a phone: without title and names, which a key gives.

  Returns:
    The figure and its caption, which names the metrics that are only in
    report.json; None where there are no curves.
  """
  present = _present(group)
  if not present:
    return None
  key = _metric(group, present)
  entries = drawn(group)
  height = max(4.8, 1.3 + _LINE * len(entries))
  size = _NARROW if narrow else (9.0, height)
  picture = Figure(figsize=size, layout="constrained")
  axes = picture.add_subplot()
  ends = [_curve(axes, entry, key, styles[entry.label]) for entry in entries]
  title = columns.column(key).title
  axes.set_xlabel("step")
  axes.set_ylabel(title)
  axes.margins(x=0.01)
  axes.set_xlim(right=max(x for x, _ in ends) * 1.0)
  if not narrow:
    heading = f"{group.track}, {group.scenario}, {group.model}"
    axes.set_title(pages.printable(heading))
    picture.draw_without_rendering()
    _label(axes, entries, ends, styles)
  said = (
    f"{title[0].upper()}{title[1:]} while training, mean over seeds; the band "
    "is the standard deviation. Names in the order of the last step."
  )
  others = sorted(present - {key})
  if others:
    said += f" Curves of {', '.join(others)} are in report.json."
  return picture, said


def drawn(group: Group) -> list[Entry]:
  """Returns the methods that have a curve in the figure, best first."""
  key = _metric(group, _present(group))
  return [e for e in group.ranked if len(e.curves.get(key, ())) > 1]


def _present(group: Group) -> set[str]:
  return {
    key
    for entry in group.ranked
    for key, curve in entry.curves.items()
    if len(curve) > 1
  }


def _metric(group: Group, present: set[str]) -> str:
  wanted = ((group.sort.key,) if group.sort else ()) + _METRICS
  return next((k for k in wanted if k in present), min(present, default=""))


def _curve(
  axes: "Axes", entry: Entry, key: str, style: Style
) -> tuple[float, float]:
  """Draws one method; returns its last finite point."""
  points = entry.curves[key]
  steps = np.array([point.step for point in points], float)
  means = np.array([point.mean for point in points])
  sds = np.array([point.sd or 0.0 for point in points])
  axes.plot(
    steps, means, color=style.colour, linestyle=style.line, linewidth=1.6
  )
  axes.fill_between(
    steps, means - sds, means + sds, color=style.colour, alpha=0.10, lw=0
  )
  last = np.flatnonzero(np.isfinite(means))
  i = last[-1] if len(last) else 0
  return float(steps[i]), float(means[i]) if len(last) else math.nan


def _label(
  axes: "Axes",
  entries: Sequence[Entry],
  ends: Sequence[tuple[float, float]],
  styles: Mapping[str, Style],
) -> None:
  """Writes the names in the right margin, joined to the curves' ends."""
  box = axes.get_window_extent()
  finite = [i for i, end in enumerate(ends) if math.isfinite(end[1])]
  pixels = [axes.transData.transform(ends[i])[1] for i in finite]
  gap = _LABEL * 1.45 * axes.figure.dpi / 72.0
  heights = placement.spread(pixels, gap, box.y0, box.y1)
  for i, height in zip(finite, heights, strict=True):
    style = styles[entries[i].label]
    at = (height - box.y0) / box.height
    axes.annotate(
      "",
      xy=ends[i],
      xycoords="data",
      xytext=(1.045, at),
      textcoords="axes fraction",
      arrowprops={
        "arrowstyle": "-",
        "color": style.colour,
        "linewidth": 0.8,
        "shrinkA": 0,
        "shrinkB": 0,
      },
    )
    axes.plot(
      [1.045, 1.085],
      [at, at],
      transform=axes.transAxes,
      color=style.colour,
      linestyle=style.line,
      linewidth=2.0,
      clip_on=False,
    )
    axes.text(
      1.095,
      at,
      pages.printable(entries[i].label),
      transform=axes.transAxes,
      fontsize=_LABEL,
      va="center",
    )
