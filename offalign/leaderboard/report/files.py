"""The report's files: report.md, report.json, report.html and plots/."""

import json
import os
import pathlib

from offalign.leaderboard.board import Board
from offalign.leaderboard.report import plots
from offalign.leaderboard.report.json_form import as_json
from offalign.leaderboard.report.markdown import render_markdown
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
  """
  folder = pathlib.Path(directory)
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


def _replace(path: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text, encoding="utf-8")
  os.replace(partial, path)
