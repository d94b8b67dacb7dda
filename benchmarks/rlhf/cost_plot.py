"""A picture of what each rung of the ladder gains, and what that costs."""

import pathlib
from collections.abc import Iterable

import numpy as np

from offalign.leaderboard import Row
from offalign.pages.figures import STYLE

NAME = "gain-over-cost.png"
_LINE = 0.04  # height of a name, as a share of the largest gain


def points(rows: Iterable[Row]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """label -> GFLOPs [S] and reward gains [S] of its seeds."""
  found: dict[str, list[tuple[float, float]]] = {}
  for row in rows:
    if row.status == "ok" and "gflops" in row.metrics:
      pair = row.metrics["gflops"], row.metrics["reward_gain"]
      found.setdefault(row.label, []).append(pair)
  return {
    label: (np.array([x for x, _ in pairs]), np.array([y for _, y in pairs]))
    for label, pairs in found.items()
  }


def ways(rows: Iterable[Row]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """label -> GFLOPs [P] and gains [P] on the way, means over its seeds.

  The points are those of the steps that all seeds have.
  """
  found: dict[str, list[Row]] = {}
  for row in rows:
    if row.status == "ok" and {"gflops", "reward_gain"} <= set(row.curves):
      found.setdefault(row.label, []).append(row)
  made = {}
  for label, seeds in found.items():
    sides = []
    for name in ("gflops", "reward_gain"):
      tables = [{p[0]: p[1] for p in row.curves[name]} for row in seeds]
      steps = sorted(set.intersection(*(set(table) for table in tables)))
      sides.append(
        np.array([np.mean([table[s] for table in tables]) for s in steps])
      )
    made[label] = (sides[0], sides[1])
  return made


def write(folder: pathlib.Path, rows: Iterable[Row]) -> None:
  """Draws gain over cost into a folder, if there is a row with costs.

  Lines with a reward model are filled, those that train on the log alone are
  not. A line that lost reward is named at the lower edge. Where rows have
  curves, thin lines lead to the points, over validation prompts.
  """
  import matplotlib
  from matplotlib.figure import Figure

  rows = list(rows)
  found = points(rows)
  if not found:
    return
  paths = ways(rows)
  offline = {row.label for row in rows if row.data_view == "the log"}
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.subplots()
    widest = max(cost.mean() for cost, _ in found.values())
    line = _LINE * max(gain.mean() for _, gain in found.values())
    placed: list[tuple[float, float]] = []
    for label, (cost, gain) in sorted(
      found.items(), key=lambda pair: -pair[1][1].mean()
    ):
      x, y = float(cost.mean()), float(gain.mean())
      if y < 0:
        axes.annotate(f"{label}: {y:+.2f}", (x, 0.0), fontsize=8, ha="center")
        continue
      (mark, *_) = axes.errorbar(
        x,
        y,
        yerr=gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else 0.0,
        fmt="o",
        mfc="white" if label in offline else None,
        capsize=2,
      )
      if label in paths:
        axes.plot(*paths[label], color=mark.get_color(), lw=0.8, alpha=0.7)
      low = y  # names of near points stand below each other
      while any(abs(u - x) < widest / 6 and v - low < line for u, v in placed):
        low -= line / 4
      placed.append((x, low))
      axes.annotate(
        label,
        (x, low),
        xytext=(6, 0),
        textcoords="offset points",
        fontsize=8,
        va="center",
        color=mark.get_color(),
      )
    axes.set_ylim(bottom=-0.03)
    axes.set_xlim(0, 1.25 * widest)
    axes.set_xlabel("GFLOPs after the log: sampling, scoring, training")
    axes.set_ylabel("gold reward gained over SFT")
    axes.set_title(
      "hollow: trained on the log alone; lines: on the way, by validation "
      "prompts"
      if paths
      else "hollow: trained on the log alone",
      fontsize=9,
    )
    figure.savefig(folder / NAME, dpi=120, facecolor="white")
