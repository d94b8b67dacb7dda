"""Draws every picture of a board, without a display."""

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from offalign import pages
from offalign.leaderboard.board import Board, Entry, Group
from offalign.leaderboard.report import palette
from offalign.pages import drawing

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_DPI = 150
_HEADINGS = {
  "frontier": "Reward gained, KL spent",
  "curves": "Learning curves",
}
_ORACLE = "exact tilt of the reference"


class Picture(NamedTuple):
  """A picture that was drawn.

  Attributes:
    path: of the PNG file, relative to the report.
    caption: what it shows.
    html: the same for a page, with a heading and its caption.
  """

  path: str
  caption: str
  html: Markup


class _Drawn(NamedTuple):
  kind: str
  wide: "Figure"
  narrow: "Figure"
  caption: str
  key: Markup


def draw(board: Board, folder: pathlib.Path) -> dict[str, list[Picture]]:
  """Draws the reward-KL plane and the learning curves of each group.

  A group without the metrics of a picture has no such picture. Only finite
  means are drawn; the tables have them all.

  Args:
    board: the aggregated rows.
    folder: where the PNG files go; created when there is something to draw.

  Returns:
    group key -> its pictures.
  """
  import matplotlib

  drawn: dict[str, list[Picture]] = {}
  taken: set[str] = set()
  # A $ in a name is a $; the axes' own labels have none.
  with matplotlib.rc_context({**drawing.RC, "text.parse_math": False}):
    styles = palette.styles(board)
    for group in board.groups:
      for picture in _pictures(board, group, styles):
        name = _unused(f"{slug(group.key)}-{picture.kind}", taken)
        folder.mkdir(parents=True, exist_ok=True)
        wide = picture.wide
        wide.savefig(folder / f"{name}.png", dpi=_DPI, facecolor="white")
        wide.axes[0].set_title("")  # the page has a heading
        html = pages.figure(
          wide,
          picture.caption,
          narrow=picture.narrow,
          below=picture.key,
          label=f"{_HEADINGS[picture.kind]}: {group.key}",
        )
        drawn.setdefault(group.key, []).append(
          Picture(
            path=f"{folder.name}/{name}.png",
            caption=picture.caption,
            html=pages.heading(_HEADINGS[picture.kind]) + html,
          )
        )
  return drawn


def _pictures(
  board: Board, group: Group, styles: Mapping[str, palette.Style]
) -> Iterator[_Drawn]:
  from offalign.leaderboard.report import curves, frontier

  points = board.meta.points(group.track, group.scenario, group.model)
  plane = frontier.figure(group, points, styles)
  small = frontier.figure(group, points, styles, narrow=True)
  if plane and small:
    key = _key(frontier.drawn(group), styles, lines=False, line=bool(points))
    yield _Drawn("frontier", plane[0], small[0], plane[1], key)
  learning = curves.figure(group, styles)
  small = curves.figure(group, styles, narrow=True)
  if learning and small:
    key = _key(curves.drawn(group), styles, lines=True)
    yield _Drawn("curves", learning[0], small[0], learning[1], key)


def _key(
  entries: Sequence[Entry],
  styles: Mapping[str, palette.Style],
  *,
  lines: bool,
  line: bool = False,
) -> Markup:
  """Which method is drawn how, where the picture does not name it.

  Args:
    entries: the methods.
    styles: label -> style.
    lines: whether they are drawn as lines, not as points.
    line: whether the oracle's line is there too.
  """
  from offalign.leaderboard.report import frontier

  ranks = frontier.names(entries) != [entry.label for entry in entries]
  marks = [
    (
      styles[entry.label].swatch(line=lines),
      f"{entry.rank}  {entry.label}" if ranks and entry.rank else entry.label,
    )
    for entry in entries
  ]
  if line:
    dashed = pages.swatch(palette.FAINT, dashes=(3.7, 1.6))
    marks.append((dashed, _ORACLE))
  return pages.key(marks, always=ranks and not lines)


def slug(text: str) -> str:
  """Returns the text with every run of unsafe characters as one hyphen."""
  return re.sub(r"[^A-Za-z0-9=._]+", "-", text).strip("-")


def _unused(name: str, taken: set[str]) -> str:
  """Adds a number to a name that another group's key was made into."""
  free, number = name, 1
  while free in taken:
    number += 1
    free = f"{name}-{number}"
  taken.add(free)
  return free
