"""Plots: win rates with their intervals as a forest."""

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from offalign import pages
from offalign.compare.result import Comparison
from offalign.judges.win_rates import WinRate
from offalign.pages.figures import STYLE

_COLOUR, _CONTROLLED = "#0072B2", "#D55E00"
_WIDE, _NARROW = 7.2, 4.6  # inches
_LINE = 0.42  # inches a policy
_LONGEST = {_WIDE: 40, _NARROW: 16}  # characters of a name
_APART = 0.16  # of a line, between the two rates of a policy


def forest(found: Comparison) -> Markup:
  """Draws the win rates against the baseline; "" where none was judged."""
  rates = [
    (entry.name, entry.duel.found)
    for entry in found.others
    if entry.duel and entry.duel.found
  ]
  if not rates:
    return Markup()
  controlled = any(rate.length_controlled is not None for _, rate in rates)
  caption = (
    f"Win rate against {found.baseline.name}: the dot is the rate, the line "
    "its 95% interval, the dashed line one half. An interval that crosses one "
    "half does not say which is better."
  )
  key = [(pages.swatch(_COLOUR, marker="o"), "win rate")]
  if controlled:
    key.append((pages.swatch(_CONTROLLED, marker="s"), "at equal lengths"))
  with matplotlib.rc_context({**STYLE, "text.parse_math": False}):
    wide, narrow = _draw(rates, _WIDE), _draw(rates, _NARROW)
    return pages.figure(
      wide,
      caption,
      narrow=narrow,
      key=key,
      always=True,
      label="Win rates against the baseline",
    )


def _draw(rates: list[tuple[str, WinRate]], width: float) -> Figure:
  height = 0.9 + _LINE * len(rates)
  figure = Figure(figsize=(width, height), layout="constrained")
  axes = figure.add_subplot()
  axes.axvline(0.5, color="#666666", linestyle="--", linewidth=1)
  for place, (_, rate) in enumerate(rates):
    shift = 0.0 if rate.length_controlled is None else _APART
    axes.plot(
      [rate.low, rate.high], [place - shift] * 2, color=_COLOUR, linewidth=1.8
    )
    axes.plot(rate.rate, place - shift, "o", color=_COLOUR, markersize=6)
    if rate.length_controlled is None:
      continue
    ends = [x for x in (rate.length_low, rate.length_high) if x is not None]
    axes.plot(
      ends, [place + shift] * len(ends), color=_CONTROLLED, linewidth=1.2
    )
    axes.plot(
      rate.length_controlled,
      place + shift,
      "s",
      color=_CONTROLLED,
      markersize=4,
    )
  names = [_short(name, _LONGEST[width]) for name, _ in rates]
  axes.set_yticks(range(len(rates)), names)
  axes.set_ylim(len(rates) - 0.5, -0.5)
  axes.set_xlim(-0.02, 1.02)
  axes.set_xlabel("win rate")
  axes.grid(axis="y", visible=False)
  return figure


def _short(name: str, most: int) -> str:
  name = pages.printable(" ".join(name.split()))
  return name if len(name) <= most else f"{name[: most - 1]}…"
