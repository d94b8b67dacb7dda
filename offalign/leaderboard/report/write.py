"""Writes the report in three forms, and its pictures, beside the rows."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from offalign.errors import UserError
from offalign.leaderboard import meta, store
from offalign.leaderboard.aggregate import aggregate
from offalign.leaderboard.board import Board, Entry, Group, Stat
from offalign.leaderboard.report import plots
from offalign.leaderboard.report.markdown import render_markdown
from offalign.leaderboard.report.page import render_page
from offalign.leaderboard.rows import BUDGET, jsonable

REPORTS = ("report.md", "report.json", "report.html")
"""One board each: to read as text, by a program, in a browser."""


def load(
  directory: str | os.PathLike[str], *, sort: str | None = None
) -> Board:
  """Reads a folder's rows and meta.json and aggregates them.

  Raises:
    UserError: for a missing folder, one without rows, or a bad row.
  """
  rows, problems = store.read(directory)
  if not rows:
    left_out = f" ({' '.join(problems)})" if problems else ""
    raise UserError(
      f"{os.fspath(directory)!r} has no rows in any *.jsonl file{left_out}"
    )
  return aggregate(
    rows,
    problems=problems,
    meta=meta.load(pathlib.Path(directory)),
    sort=sort,
  )


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
  record = jsonable(as_record(board))
  for group in record["groups"]:
    drawn = pictures.get(group["key"], ())
    group["plots"] = [picture.path for picture in drawn]
  text = json.dumps(record, indent=1, allow_nan=False) + "\n"
  _replace(folder / "report.json", text)
  paths = [picture.path for drawn in pictures.values() for picture in drawn]
  return [*REPORTS, *paths]


def as_record(board: Board) -> dict[str, Any]:
  """Returns the board as nested dicts and lists, values of every seed too."""
  return {
    "title": board.meta.title,
    "scale": board.meta.scale,
    "command": board.meta.command,
    "verdicts": list(board.meta.verdicts),
    "notes": list(board.meta.notes),
    "problems": list(board.problems),
    "rows": board.rows,
    "environments": [
      {"versions": versions, "revision": revision, "rows": count}
      for (versions, revision), count in board.environments.items()
    ],
    "groups": [_group(board, group) for group in board.groups],
  }


def _group(board: Board, group: Group) -> dict[str, Any]:
  sort = group.sort
  return {
    "key": group.key,
    "track": group.track,
    "scenario": group.scenario,
    "model": group.model,
    "budget": group.budget and dict(zip(BUDGET, group.budget, strict=True)),
    "sort": sort and {"metric": sort.key, "lower_is_better": sort.lower},
    "entries": [_entry(entry) for entry in group.entries],
    "failures": [
      {
        "label": bad.label,
        "seed": bad.seed,
        "budget": dict(zip(BUDGET, bad.budget, strict=True)),
        "error": bad.error,
        "command": bad.command,
      }
      for bad in group.failures
    ],
    "head_to_head": [
      {"a": a, "b": b, **_stat(stat)} for (a, b), stat in group.duels.items()
    ],
    "oracle": list(board.meta.points(group.track, group.scenario, group.model)),
    "notes": list(group.notes),
  }


def _entry(entry: Entry) -> dict[str, Any]:
  record = dataclasses.asdict(entry)
  record["budget"] = dict(zip(BUDGET, entry.budget, strict=True))
  record["metrics"] = {k: _stat(stat) for k, stat in entry.metrics.items()}
  record["seconds"] = {k: _stat(stat) for k, stat in entry.seconds.items()}
  return record


def _stat(stat: Stat) -> dict[str, Any]:
  return {
    "mean": stat.mean,
    "sd": stat.sd,
    "n": stat.n,
    "by_seed": dict(stat.by_seed),
  }


def _replace(path: pathlib.Path, text: str) -> None:
  """Writes a file whole or not at all."""
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text, encoding="utf-8")
  os.replace(partial, path)
