"""A picture of the paper's sweeps beside ours: win rate against SFT."""

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmarks.claims import Results
from benchmarks.paper import SFT, TABLES, Table
from offalign.pages.figures import STYLE

if TYPE_CHECKING:
  from matplotlib.axes import Axes

_PANELS = ("Figure 3, top", "Figure 3, bottom", "Figure 4", "Figure 5")
_WIDTH, _HEIGHT, _DPI = 3.6, 3.0, 120


def draw(folder: pathlib.Path, models: Mapping[str, Results]) -> list[str]:
  """Draws a picture for each model.

  Args:
    folder: where plots/ is or will be.
    models: spec -> rows.

  Returns:
    The paths of the pictures, relative to the folder.
  """
  import matplotlib
  from matplotlib.figure import Figure

  shown = [t for t in TABLES if t.title.startswith(_PANELS)]
  paths = []
  with matplotlib.rc_context(STYLE):
    for model, results in models.items():
      columns = 4
      lines = -(-len(shown) // columns)
      figure = Figure(
        figsize=(columns * _WIDTH, lines * _HEIGHT), layout="constrained"
      )
      axes = figure.subplots(lines, columns, squeeze=False).ravel()
      for axis, table in zip(axes, shown, strict=False):
        _panel(axis, table, results)
      for axis in axes[len(shown) :]:
        axis.set_axis_off()
      axes[0].legend(fontsize=8)
      name = f"plots/paper-{model.partition('(')[0]}.png"
      (folder / "plots").mkdir(parents=True, exist_ok=True)
      figure.savefig(folder / name, dpi=_DPI, facecolor="white")
      paths.append(name)
  return paths


def _panel(axis: "Axes", table: Table, results: Results) -> None:
  """One sweep: the paper's line where it has one, and ours ± its error."""
  matches = [m for m in table.matches if m.b == SFT]
  places = range(len(matches))
  paper = [(i, m.paper[0][1]) for i, m in enumerate(matches) if m.paper]
  if paper:
    axis.plot(
      *zip(*paper, strict=True), "o--", color="0.5", label="paper, T5-L"
    )
  found = [(i, results.found(m)) for i, m in enumerate(matches)]
  ours = [
    (i, each.estimate.mean, each.estimate.se)
    for i, each in found
    if each is not None
  ]
  if ours:
    x, y, errors = zip(*ours, strict=True)
    axis.errorbar(x, y, yerr=errors, fmt="o-", capsize=3, label="ours")
  axis.axhline(0.5, color="0.8", linewidth=1)
  axis.set_xticks(list(places), [m.name.replace(", ", "\n") for m in matches])
  axis.tick_params(axis="x", labelsize=7)
  axis.set_ylim(0.4, 1.0)
  title, _, rest = table.title.partition(": ")
  axis.set_title(f"{title}\n{rest}", fontsize=9)
