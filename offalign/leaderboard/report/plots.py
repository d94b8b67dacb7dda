"""Plots of a board: PNG files for Markdown, SVG figures for the page."""

import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from offalign import pages
from offalign.leaderboard.board import Board, Entry, Group
from offalign.leaderboard.report import palette
from offalign.pages.figures import STYLE

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_DPI = 150
_TITLES = {
  "frontier": "Reward gained, KL spent",
  "curves": "Learning curves",
}
_ORACLE = "exact tilt of the reference"


class Picture(NamedTuple):
  """A plot as a PNG file and as a figure of the page.

  Attributes:
    path: of the PNG file, relative to the report.
    title: the heading above it.
    caption: what it shows.
    figure: the same for a page, with its caption.
  """

  path: str
  title: str
  caption: str
  figure: Markup


class _Drawn(NamedTuple):
  kind: str
  wide: "Figure"
  narrow: "Figure"
  caption: str
  key: list[tuple[Markup, str]]
  ranks: bool  # names stand in the key alone


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
  with matplotlib.rc_context({**STYLE, "text.parse_math": False}):
    styles = palette.styles(board)
    for group in board.groups:
      for picture in _pictures(board, group, styles):
        name = _unused(f"{slug(group.key)}-{picture.kind}", taken)
        folder.mkdir(parents=True, exist_ok=True)
        wide = picture.wide
        wide.savefig(folder / f"{name}.png", dpi=_DPI, facecolor="white")
        wide.axes[0].set_title("")  # the page has a heading
        title = _TITLES[picture.kind]
        figure = pages.figure(
          wide,
          picture.caption,
          narrow=picture.narrow,
          key=picture.key,
          always=picture.ranks,
          label=f"{title}: {group.key}",
        )
        path = f"{folder.name}/{name}.png"
        drawn.setdefault(group.key, []).append(
          Picture(path, title, picture.caption, figure)
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
    entries = frontier.drawn(group)
    names = frontier.names(entries)
    key = _key(entries, names, styles, lines=False)
    if points:
      key.append((pages.swatch(palette.FAINT, dashes=(3.7, 1.6)), _ORACLE))
    ranks = names != [entry.label for entry in entries]
    yield _Drawn("frontier", plane[0], small[0], plane[1], key, ranks)
  learning = curves.figure(group, styles)
  small = curves.figure(group, styles, narrow=True)
  if learning and small:
    entries = curves.drawn(group)
    key = _key(entries, frontier.names(entries), styles, lines=True)
    yield _Drawn("curves", learning[0], small[0], learning[1], key, False)


def _key(
  entries: Sequence[Entry],
  names: Sequence[str],
  styles: Mapping[str, palette.Style],
  *,
  lines: bool,
) -> list[tuple[Markup, str]]:
  """Pairs each method's swatch with its label, after another name it has.

  Args:
    entries: the methods.
    names: what the picture calls them, their label or their rank.
    styles: label -> style.
    lines: whether they are drawn as lines, not as points.
  """
  return [
    (
      styles[entry.label].swatch(line=lines),
      entry.label if name == entry.label else f"{name}  {entry.label}",
    )
    for entry, name in zip(entries, names, strict=True)
  ]


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
