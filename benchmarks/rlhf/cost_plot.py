"""A picture of what each rung of the ladder gains, and what that costs."""

import pathlib
from collections.abc import Iterable

import numpy as np

from offalign.leaderboard import Row
from offalign.pages.figures import STYLE

NAME = "gain-over-cost.png"


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


def write(folder: pathlib.Path, rows: Iterable[Row]) -> None:
  """Draws gain over cost into a folder, if there is a row with costs.

  Lines with a reward model are filled, those that train on the log alone are
  not. A line that lost reward is named at the lower edge.
  """
  import matplotlib
  from matplotlib.figure import Figure

  rows = list(rows)
  found = points(rows)
  if not found:
    return
  offline = {row.label for row in rows if row.data_view == "the log"}
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    axes = figure.subplots()
    widest = max(cost.mean() for cost, _ in found.values())
    placed: list[tuple[float, float]] = []
    for label, (cost, gain) in found.items():
      if gain.mean() < 0:
        axes.annotate(
          f"{label}: {gain.mean():+.2f}",
          (float(cost.mean()), 0.0),
          fontsize=8,
          ha="center",
        )
        continue
      error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
      axes.errorbar(
        cost.mean(),
        gain.mean(),
        yerr=error,
        fmt="o",
        mfc="white" if label in offline else None,
        capsize=2,
      )
      at = float(cost.mean()), float(gain.mean())
      below = any(
        abs(x - at[0]) < 0.1 * widest and abs(y - at[1]) < 0.03
        for x, y in placed
      )
      placed.append(at)
      axes.annotate(
        label,
        at,
        xytext=(5, -9 if below else 4),
        textcoords="offset points",
        fontsize=8,
      )
    axes.set_ylim(bottom=-0.03)
    axes.set_xlim(0, 1.25 * widest)
    axes.set_xlabel("GFLOPs after the log: sampling, scoring, training")
    axes.set_ylabel("gold reward gained over SFT")
    axes.set_title("hollow: trained on the log alone", fontsize=9)
    figure.savefig(folder / NAME, dpi=120, facecolor="white")
