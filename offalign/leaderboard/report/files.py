"""The report's files: report.md, report.json, report.html and plots/."""

import json
import os
import pathlib

from offalign.errors import UserError
from offalign.leaderboard.board import Board
from offalign.leaderboard.report import plots
from offalign.leaderboard.report.json_form import as_json
from offalign.leaderboard.report.markdown import REPRODUCE, render_markdown
from offalign.leaderboard.report.page import render_page
from offalign.leaderboard.rows import jsonable

REPORTS = ("report.md", "report.json", "report.html")
"""The board as text, for programs, and for a browser."""


def write(board: Board, directory: str | os.PathLike[str]) -> list[str]:
  """Writes the report; writing it again changes nothing.

  Args:
    board: what to report.
    directory: where the `REPORTS` and plots/ go.

  Returns:
    The relative paths of the files, `REPORTS` first.

  Raises:
    UserError: where report.md is another program's page.
  """
  folder = pathlib.Path(directory)
  _check_ours(folder / "report.md")
  pictures = plots.draw(board, folder / "plots")
  captions = {
    key: [(picture.path, picture.caption) for picture in drawn]
    for key, drawn in pictures.items()
  }
  _replace(folder / "report.md", render_markdown(board, captions))
  _replace(folder / "report.html", render_page(board, pictures))
  record = jsonable(as_json(board))
  for group in record["groups"]:
    drawn = pictures.get(group["key"], ())
    group["plots"] = [picture.path for picture in drawn]
  text = json.dumps(record, indent=1, allow_nan=False) + "\n"
  _replace(folder / "report.json", text)
  paths = [picture.path for drawn in pictures.values() for picture in drawn]
  return [*REPORTS, *paths]


def _check_ours(page: pathlib.Path) -> None:
  """Refuses to replace a page that this did not write."""
  if not page.exists():
    return
  if REPRODUCE not in page.read_text(encoding="utf-8", errors="replace"):
    raise UserError(
      f"{page} is not a report of the leaderboard, whose report would replace "
      "it; rename it, or copy the rows to a folder of their own"
    )


def _replace(path: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text, encoding="utf-8")
  os.replace(partial, path)
