"""Draws every picture of a board into PNG files, without a display."""

import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from offalign.leaderboard import palette
from offalign.leaderboard.board import Board

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_DPI = 150


def draw(
  board: Board, folder: pathlib.Path
) -> dict[str, list[tuple[str, str]]]:
  """Draws the reward-KL plane and the learning curves of each group.

  A group without the metrics of a picture has no such picture. Only finite
  means are drawn; the tables have them all.

  Args:
    board: the aggregated rows.
    folder: where the PNG files go; created when there is something to draw.

  Returns:
    group key -> (path relative to the folder's parent, caption).
  """
  import matplotlib

  drawn: dict[str, list[tuple[str, str]]] = {}
  taken: set[str] = set()
  with matplotlib.rc_context(palette.RC):
    for key, kind, figure, caption in _figures(board):
      name = _unused(f"{slug(key)}-{kind}", taken)
      folder.mkdir(parents=True, exist_ok=True)
      figure.savefig(folder / f"{name}.png", dpi=_DPI, facecolor="white")
      drawn.setdefault(key, []).append((f"{folder.name}/{name}.png", caption))
  return drawn


def _figures(board: Board) -> Iterator[tuple[str, str, "Figure", str]]:
  """Yields (group key, kind, figure, caption)."""
  from offalign.leaderboard import curves, frontier

  styles = palette.styles(board)
  for group in board.groups:
    points = board.meta.points(group.track, group.scenario, group.model)
    plane = frontier.figure(group, points, styles)
    if plane:
      yield group.key, "frontier", *plane
    learning = curves.figure(group, styles)
    if learning:
      yield group.key, "curves", *learning


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
