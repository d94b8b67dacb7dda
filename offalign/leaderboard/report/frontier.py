"""Plot of reward gain against KL: what each method gained for its KL."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from offalign import pages
from offalign.leaderboard.board import Entry, Group
from offalign.leaderboard.meta import Point
from offalign.leaderboard.report import placement
from offalign.leaderboard.report.palette import FAINT, Style

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.text import Text

_SIZE = (9.0, 6.2)  # inches
_NARROW = (4.6, 4.4)
_LABEL = 8.5  # points
_TEMPERATURES = 6  # that are named along a frontier of many points
_FEW = 3  # in a narrow picture
_MANY = 20  # methods; more than that are named by their ranks
_FAR = 3.0  # times the frontier's KL, beyond which the axis is logarithmic
_BEYOND = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # ticks there
_CAPTION = (
  "Reward gain against KL, mean and standard error. A method "
  "on the dashed line gains what the exact tilt of the reference does at "
  "that KL; below it, KL is wasted."
)
_NO_LINE = (
  "Reward gain against KL, mean and standard error; higher "
  "at the same KL is better."
)
_RANKS = " Numbers are the ranks in the table."
_BENT = " Beyond {:.2g} nats the axis is logarithmic."


def figure(
  group: Group,
  points: Sequence[Point],
  styles: Mapping[str, Style],
  *,
  narrow: bool = False,
) -> tuple[Figure, str] | None:
  """Draws reward gain against KL.

  Args:
    group: its ranked methods and controls are drawn.
    points: the oracle's; those with tau, kl and reward_gain make the line.
    styles: label -> style.
    narrow: for a phone: without title and names, which a key gives.

  Returns:
    The figure and its caption; None where no method has both metrics.
  """
  entries = drawn(group)
  if not entries:
    return None
  picture = Figure(figsize=_NARROW if narrow else _SIZE, layout="constrained")
  axes = picture.add_subplot()
  line = _oracle(axes, points, _FEW if narrow else _TEMPERATURES)
  for entry in entries:
    _point(axes, entry, styles[entry.label])
  axes.set_xlabel("KL(policy || reference), nats per completion")
  axes.set_ylabel("reward gain over the reference")
  said = _CAPTION if len(line) else _NO_LINE
  if len(line):
    said += _bend(axes, entries, float(line[:, 0].max()))
  if narrow:
    if legend := axes.get_legend():
      legend.remove()
    return picture, said
  title = f"{group.track}, {group.scenario}, {group.model}"
  axes.set_title(pages.printable(title))
  axes.margins(x=0.14, y=0.09)  # room for labels at the edge
  picture.draw_without_rendering()
  picture.set_layout_engine("none")  # labels are placed for these axes
  _label(axes, entries, line, names(entries))
  return picture, said + _RANKS * (len(entries) > _MANY)


def names(entries: Sequence[Entry]) -> list[str]:
  """Returns the methods' names in the plot: their ranks where many."""
  if len(entries) <= _MANY:
    return [entry.label for entry in entries]
  return [str(entry.rank or entry.label) for entry in entries]


def drawn(group: Group) -> list[Entry]:
  """Returns the methods with a finite KL and reward gain, best first."""
  return [
    entry
    for entry in (*group.ranked, *group.controls)
    if all(
      key in entry.metrics and math.isfinite(entry.metrics[key].mean)
      for key in ("kl", "reward_gain")
    )
  ]


def _oracle(axes: "Axes", points: Sequence[Point], named: int) -> np.ndarray:
  """Draws the frontier; returns its vertices [N, 2], from (0, 0)."""
  on_line = sorted(
    (float(p["kl"]), float(p["reward_gain"]), float(p["tau"]))
    for p in points
    if {"kl", "reward_gain", "tau"} <= set(p)
  )
  if not on_line:
    return np.zeros((0, 2))
  kl, gain, tau = np.array([(0.0, 0.0, np.inf), *on_line]).T
  name = "exact tilt of the reference at temperature τ"
  axes.plot(kl, gain, "--", color=FAINT, linewidth=1.4, zorder=1, label=name)
  axes.legend(loc="upper left", frameon=False, fontsize=_LABEL)
  some = slice(1, None, math.ceil(len(on_line) / named))
  axes.plot(kl[some], gain[some], ".", color=FAINT, markersize=5, zorder=1)
  for x, y, t in zip(kl[some], gain[some], tau[some], strict=True):
    axes.annotate(
      f"τ={t:g}",
      (x, y),
      xytext=(-5, 5),
      textcoords="offset points",
      ha="right",
      va="bottom",
      fontsize=_LABEL - 0.5,
      color="#6A6A6A",
    )
  return np.stack([kl, gain], axis=1)


def _bend(axes: "Axes", entries: Sequence[Entry], knee: float) -> str:
  """Makes room where a few methods lie far beyond the frontier.

  Args:
    axes: where they are drawn.
    entries: the methods.
    knee: the frontier's largest KL; the axis is linear up to there.

  Returns:
    What the caption says of it; "" where the axis stays linear.
  """
  from matplotlib import ticker

  most = max(entry.metrics["kl"].mean for entry in entries)
  if knee <= 0 or most <= _FAR * knee:
    return ""
  axes.set_xscale("symlog", linthresh=knee, linscale=3.0)
  ticks = [t for t in ticker.MaxNLocator(4).tick_values(0.0, knee) if t <= knee]
  ticks += [t for t in _BEYOND if 1.2 * knee < t <= 1.2 * most]
  axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  return _BENT.format(knee)


def _point(axes: "Axes", entry: Entry, style: Style) -> None:
  kl, gain = entry.metrics["kl"], entry.metrics["reward_gain"]
  axes.errorbar(
    kl.mean,
    gain.mean,
    xerr=entry.se("kl"),
    yerr=entry.se("reward_gain"),
    fmt=style.marker,
    color=style.colour,
    markersize=7.5,
    markerfacecolor=(style.colour, 0.35),  # shows what coincides
    markeredgecolor=style.colour,
    markeredgewidth=1.4,
    elinewidth=1.1,
    capsize=0,
    zorder=3,
  )


def _label(
  axes: "Axes",
  entries: Sequence[Entry],
  line: np.ndarray,
  names: Sequence[str],
) -> None:
  """Writes each method's name beside its point, with a leader."""
  means = np.array(
    [(e.metrics["kl"].mean, e.metrics["reward_gain"].mean) for e in entries]
  )
  anchors = axes.transData.transform(means)
  texts = [
    axes.text(
      float(mean[0]),
      float(mean[1]),
      pages.printable(name),
      fontsize=_LABEL,
      ha="center",
      va="center",
      zorder=5,
    )
    for name, mean in zip(names, means, strict=True)
  ]
  sizes = np.array([_extent(text) for text in texts])
  box = axes.get_window_extent()
  obstacles, owners = _obstacles(axes, entries, line)
  centres = placement.place(anchors, sizes, obstacles, owners, box.extents)
  to_data = axes.transData.inverted().transform
  for text, anchor, centre, size in zip(
    texts, anchors, centres, sizes, strict=True
  ):
    x, y = to_data(centre)
    text.set_position((x, y))
    end = np.clip(anchor, centre - size / 2, centre + size / 2)
    leader = to_data(np.stack([anchor, end]))
    axes.plot(
      *leader.T,
      color="#B4B4B4",
      linewidth=0.8,
      zorder=2,
      scalex=False,
      scaley=False,
    )


def _extent(text: "Text") -> tuple[float, float]:
  box = text.get_window_extent()
  return box.width, box.height


def _obstacles(
  axes: "Axes", entries: Sequence[Entry], line: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Samples points that labels must not hide; whose error bar, or -1."""
  to_pixels = axes.transData.transform
  steps = np.linspace(-1.0, 1.0, 9)[:, None]
  samples: list[np.ndarray] = []
  for entry in entries:
    kl, gain = entry.metrics["kl"], entry.metrics["reward_gain"]
    mean = np.array([kl.mean, gain.mean])
    across = np.array([entry.se("kl") or 0.0, 0.0])
    up = np.array([0.0, entry.se("reward_gain") or 0.0])
    bars = np.concatenate([mean + steps * across, mean + steps * up])
    samples.append(to_pixels(bars))
  owners = [np.full(len(bars), i) for i, bars in enumerate(samples)]
  if len(line):
    for start, end in itertools.pairwise(to_pixels(line)):
      count = max(2, int(np.hypot(*(end - start)) / 6.0))
      samples.append(np.linspace(start, end, count))
    words = [text for text in axes.texts if text.get_text().startswith("τ=")]
    legend = axes.get_legend()
    for artist in [*words, *([legend] if legend else [])]:
      box = artist.get_window_extent()
      middle = (box.y0 + box.y1) / 2
      samples.append(np.linspace((box.x0, middle), (box.x1, middle), 9))
  owners += [np.full(len(part), -1) for part in samples[len(entries) :]]
  return np.concatenate(samples), np.concatenate(owners)
