"""The files of a comparison: a page, Markdown, JSON and rows."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from offalign.compare.page import page
from offalign.compare.result import OUTCOMES, Comparison, Entry
from offalign.compare.text import markdown
from offalign.compare.written import RECORD, ROWS
from offalign.errors import render
from offalign.files import write_atomically, write_json
from offalign.leaderboard.rows import jsonable
from offalign.pages import Section
from offalign.statistics.outcomes import encode

PAGE, TEXT = "compare.html", "compare.md"


def write(
  found: Comparison,
  folder: str | os.PathLike[str],
  first: Sequence[Section] = (),
  title: str = "Comparison",
) -> None:
  """Writes the files; an earlier comparison's are replaced.

  Args:
    found: the comparison.
    folder: where they go.
    first: sections to be put before all others on the page.
    title: of the page.

  Raises:
    Unwritten: where one cannot be written.
  """
  folder = pathlib.Path(folder)
  lines = [entry.row.to_json() for entry in found.entries if entry.row]
  write_atomically(folder / ROWS, "".join(f"{line}\n" for line in lines))
  write_json(folder / RECORD, jsonable(as_record(found)))
  write_atomically(folder / TEXT, markdown(found))
  write_atomically(folder / PAGE, page(found, first, title))


def as_record(found: Comparison) -> dict[str, Any]:
  """All of it as JSON, but for the texts, which are in files of their own."""
  return {
    "judge": found.judge,
    "prompts": len(found.prompts),
    "source": found.source,
    "drawing": dict(found.drawing),
    "baseline": found.baseline.name,
    "policies": [_entry(entry) for entry in found.entries],
    "notes": [render(sentence) for sentence in found.said],
  }


def _entry(entry: Entry) -> dict[str, Any]:
  rate = entry.duel.found if entry.duel else None
  outcomes = entry.outcomes
  return {
    "name": entry.name,
    "path": entry.path,
    "kind": entry.kind,
    "step": entry.step,
    "win_rate": dataclasses.asdict(rate)
    | {"se": rate.se, "outcomes": encode(rate.outcomes)}
    if rate
    else None,
    "outcomes": {name: outcomes.count(name) for name in OUTCOMES}
    if outcomes
    else None,
    "counts": entry.duel.counts if entry.duel else None,
    "score": dataclasses.asdict(entry.score) if entry.score else None,
    "mean_characters": entry.characters,
    "mean_tokens": entry.tokens,
    "unfinished": entry.cuts.unfinished,
    "budget": dict(entry.budget),
    "metrics": dict(entry.metrics),
    "nats": dict(entry.nats),
  }
