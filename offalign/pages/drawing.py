"""How matplotlib draws every picture of a page: fonts, axes, ink."""

from typing import Any

TEXT = "#222222"
RC: dict[Any, Any] = {
  "font.family": "DejaVu Sans",
  "font.size": 10,
  "axes.titlesize": 11,
  "axes.titlelocation": "left",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.edgecolor": "#666666",
  "axes.labelcolor": TEXT,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": "#E9E9E9",
  "xtick.color": "#444444",
  "ytick.color": "#444444",
  "text.color": TEXT,
}
"""Matplotlib settings, applied around drawing and saving only."""
