"""Small SVG drawings in a line of text or a cell: swatches and intervals."""

import math
from collections.abc import Iterable

from markupsafe import Markup

from offalign.pages.colours import themed

_SHAPES = {
  "o": '<circle cx="{x}" cy="6" r="3.6"/>',
  "s": '<rect x="{l}" y="2.7" width="6.6" height="6.6"/>',
  "D": '<path d="M{x} 1.6l4.4 4.4-4.4 4.4-4.4-4.4z"/>',
  "^": '<path d="M{x} 2l4.2 7.4h-8.4z"/>',
  "v": '<path d="M{x} 10l4.2-7.4h-8.4z"/>',
  "P": '<path d="M{x} 1.8v8.4m-4.2-4.2h8.4" stroke-width="2.6"/>',
  "X": '<path d="M{x} 6m-3-3l6 6m0-6l-6 6" stroke-width="2.4"/>',
}
_WIDTH = 132.0  # of an interval, in its own units


def swatch(
  colour: str, *, marker: str = "", dashes: Iterable[float] | None = None
) -> Markup:
  """Draws how a figure shows a method: marker, line, or marker on a line.

  Args:
    colour: "#rrggbb".
    marker: one of matplotlib's o s D ^ v P X; "" for none.
    dashes: lengths of the line's dashes and gaps in line widths, () for a
      solid line; None for no line.

  Raises:
    ValueError: for another marker.
  """
  if marker and marker not in _SHAPES:
    raise ValueError(f"no marker {marker!r}; there are {' '.join(_SHAPES)}")
  width = 26 if dashes is not None else 12
  line = ""
  if dashes is not None:
    lengths = " ".join(f"{2 * length:g}" for length in dashes)
    pattern = f' stroke-dasharray="{lengths}"' if lengths else ""
    line = f'<path d="M1 6h24" stroke-width="2"{pattern}/>'
  middle = width / 2
  shape = (
    _SHAPES[marker].format(x=f"{middle:g}", l=f"{middle - 3.3:g}")
    if marker
    else ""
  )
  return Markup(
    f'<svg class="swatch" aria-hidden="true" width="{width}" height="12" '
    f'viewBox="0 0 {width} 12" style="color: {themed(colour)}">'
    f"{line}{shape}</svg>"
  )


def interval(
  mean: float,
  spread: float | None,
  values: Iterable[float],
  bounds: tuple[float, float],
  mark: float | None = None,
) -> Markup:
  """Draws a mean, its spread and single values on a scale.

  Args:
    mean: drawn as the dot.
    spread: half the length of the line through the dot; None for no line.
    values: drawn as thin strokes.
    bounds: the ends of the scale; a value outside is drawn at the end.
    mark: a reference value, the same in every row; None for none.
  """
  low, high = bounds
  scale = (_WIDTH - 12) / ((high - low) or 1.0)

  def at(value: float) -> str:
    return f"{6 + (min(max(value, low), high) - low) * scale:.1f}"

  parts = []
  if mark is not None:
    parts.append(f'<path class="mark" d="M{at(mark)} 0v20"/>')
  if math.isfinite(mean):
    if spread:
      ends = at(mean - spread), at(mean + spread)
      parts.append(f'<path class="bar" d="M{ends[0]} 10H{ends[1]}"/>')
    parts += [
      f'<path class="value" d="M{at(value)} 6v8"/>'
      for value in values
      if math.isfinite(value)
    ]
    parts.append(f'<circle cx="{at(mean)}" cy="10" r="3.2"/>')
  return Markup(
    f'<svg class="interval" aria-hidden="true" width="{_WIDTH:g}" height="20" '
    f'viewBox="0 0 {_WIDTH:g} 20">{"".join(parts)}</svg>'
  )
