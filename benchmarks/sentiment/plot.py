"""The gains as a forest: a dot and an interval for each policy."""

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from benchmarks.sentiment.gains import Gain
from benchmarks.sentiment.results import Results
from offalign import pages
from offalign.pages.figures import STYLE

_COLOUR, _NULL = "#0072B2", "#777777"
_WIDE, _NARROW = 7.2, 4.2  # inches
_LINE = 0.42  # inches a policy


def gains(found: Results) -> Markup:
  """Draws the gains over the base model, and the base model against itself."""
  lines = [("base, second draw", found.null, _NULL)]
  lines += [(x.cell.label, x.gain, _COLOUR) for x in found.outcomes]
  caption = (
    "Gain in the mean score over the base model, with its 95% interval; in "
    "grey the base model's second draw against its first. An interval that "
    "crosses 0 is within the noise."
  )
  with matplotlib.rc_context({**STYLE, "text.parse_math": False}):
    return pages.figure(
      _draw(lines, _WIDE),
      caption,
      narrow=_draw(lines, _NARROW),
      label="Gains over the base model",
    )


def _draw(lines: list[tuple[str, Gain, str]], width: float) -> Figure:
  height = 0.9 + _LINE * len(lines)
  figure = Figure(figsize=(width, height), layout="constrained")
  axes = figure.add_subplot()
  axes.axvline(0.0, color="#666666", linestyle="--", linewidth=1)
  for place, (_, gain, colour) in enumerate(lines):
    axes.plot(
      [gain.low, gain.high], [place, place], color=colour, linewidth=1.8
    )
    axes.plot(gain.mean, place, "o", color=colour, markersize=6)
  axes.set_yticks(range(len(lines)), [name for name, _, _ in lines])
  axes.set_ylim(len(lines) - 0.5, -0.5)
  axes.set_xlabel("gain in the mean score")
  axes.grid(axis="y", visible=False)
  return figure
