"""Colours, markers and lines: one style for each method of a board.

The colours are Okabe and Ito's, told apart by readers with any colour
vision; markers and line styles tell apart methods that share a colour.
"""

from typing import Any, NamedTuple

from markupsafe import Markup

from offalign import pages
from offalign.leaderboard.board import Board

FAINT = "#8A8A8A"
_COLOURS = (
  "#0072B2",
  "#D55E00",
  "#009E73",
  "#CC79A7",
  "#E69F00",
  "#56B4E9",
  "#333333",
)
_MARKERS = ("o", "s", "^", "D", "v", "P")  # with 7 colours: 42 pairs
_LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


class Style(NamedTuple):
  """Colour, marker and line of a method."""

  colour: str
  marker: str
  line: Any

  def swatch(self, *, line: bool = False) -> Markup:
    """Returns the marker, or the line, as a small SVG drawing."""
    if not line:
      return pages.swatch(self.colour, marker=self.marker)
    named = {"-": (), ":": (1.0, 1.65)}
    dashes = (
      named.get(self.line) if isinstance(self.line, str) else self.line[1]
    )
    return pages.swatch(self.colour, dashes=dashes)


def styles(board: Board) -> dict[str, Style]:
  """Returns label -> style; labels in alphabetical order over all groups."""
  entries = [entry for group in board.groups for entry in group.entries]
  controls = {entry.label for entry in entries if entry.control}
  trained = sorted({entry.label for entry in entries} - controls)
  chosen = {label: Style(FAINT, "X", ":") for label in sorted(controls)}
  for i, label in enumerate(trained):
    chosen[label] = Style(
      _COLOURS[i % len(_COLOURS)],
      _MARKERS[i % len(_MARKERS)],
      _LINES[i // len(_COLOURS) % len(_LINES)],
    )
  return chosen
