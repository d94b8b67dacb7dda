"""A picture of gold and proxy reward over the root of KL, proxy by proxy."""

import pathlib
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from offalign.pages.figures import STYLE

if TYPE_CHECKING:
  from benchmarks.overoptimisation.report import Line

_COLUMNS = 4


def draw(path: pathlib.Path, method: str, own: Sequence["Line"]) -> None:
  """Draws a panel for each proxy: gold, its interval, proxy, fitted form."""
  import matplotlib
  from matplotlib.figure import Figure

  from benchmarks.overoptimisation import fits

  rows = -(-len(own) // _COLUMNS)
  with matplotlib.rc_context(STYLE):
    figure = Figure(figsize=(12.0, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False)
    for axes in panels.flat[len(own) :]:
      axes.set_axis_off()
    for axes, line in zip(panels.flat, own, strict=False):
      curve, fit = line.curve, line.fit
      # An estimate of a KL near 0 may be below it.
      d = np.sqrt(np.maximum(curve.kl, 0.0))
      low, high = np.quantile(
        fits.resample(curve.folds), [1 - fits.SURE, fits.SURE], axis=0
      )
      axes.fill_between(d, low, high, alpha=0.2, color="tab:blue")
      axes.plot(d, curve.gold, "o-", ms=2.5, color="tab:blue", label="gold")
      axes.plot(d, curve.proxy, "--", color="tab:orange", label="proxy")
      if d.max() > 0:
        at = np.linspace(max(d.max() / 50, 1e-3), d.max(), 60)
        second = at if fit.form == fits.BEST_OF_FORM else np.log(at)
        form = at * (fit.alpha - fit.beta * second)
        axes.plot(at, form, ":", color="black", label="fitted form")
      axes.set_title(textwrap.fill(line.proxy, 34), fontsize=8)
      axes.set_xlabel("sqrt(KL)", fontsize=8)
    panels[0, 0].legend(fontsize=7)
    figure.suptitle(f"{method}: gain over the SFT policy", fontsize=10)
    figure.savefig(path, dpi=80, facecolor="white")
