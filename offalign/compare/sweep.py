"""Write the page of a sweep: its grid, and what a judge says of its cells."""

import os
import pathlib
from collections.abc import Mapping, Sequence

from offalign.compare import contestants, grid, grid_page, kl, report
from offalign.compare.contestants import Contestant
from offalign.compare.grid import Grid
from offalign.compare.one_run import started_from
from offalign.compare.result import Comparison, Entry
from offalign.compare.run import budget, compare_runs
from offalign.compare.written import RECORD, ROWS
from offalign.distributed import hosts
from offalign.errors import UserError
from offalign.files import write_atomically, write_json, writing
from offalign.generation.completions import Completions
from offalign.judges.base import Judge
from offalign.judges.gold import Score
from offalign.sweeping import record
from offalign.sweeping.record import Sweep

GRID = "grid.json"
"""The figures of the grid, for programs."""

_TOO_FEW = (
  "Nothing was judged: it takes two policies, and there are fewer, what the "
  "cells started from included."
)


def compare_sweep(
  folder: str | os.PathLike[str],
  *,
  judge: Score | Judge | str | None = None,
  baseline: str | os.PathLike[str] | None = None,
  prompts: str | os.PathLike[str] | None = None,
  limit: int | None = None,
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  verbose: bool = True,
) -> Grid:
  """Compares the cells of a sweep, and writes its page into its folder.

  Args:
    folder: of the sweep; gets compare.html, compare.md and grid.json, and
      with a judge what else `compare_runs` writes.
    judge: see `compare_runs`; None = held-out figures of the runs alone.
    baseline: with which the cells are compared. Default: what they started
      from; where that is new weights, the first cell.
    prompts: see `compare_runs`.
    limit: see `compare_runs`.
    max_new_tokens: see `compare_runs`.
    temperature: see `compare_runs`.
    verbose: says what is done.

  Returns:
    The grid; the page has the same.

  Raises:
    UserError: for what is no sweep; or see `compare_runs`.
  """
  folder = pathlib.Path(folder)
  sweep = record.read(folder)
  if sweep is None:
    raise UserError(f"{folder} is no sweep: it has no {record.FILE}")
  trained = [contestants.open_one(str(folder / name)) for name in sweep.done]
  said: list[str] = []
  if judge is not None:
    start = _start(trained, said) if baseline is None else None
    if baseline is not None:
      start = contestants.open_one(os.fspath(baseline))
    if len(trained) + (start is not None) >= 2:
      found = compare_runs(
        [one.path for one in trained],
        judge=judge,
        out=folder,
        baseline=None if start is None else start.path,
        prompts=prompts,
        limit=limit,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        verbose=verbose,
      )
      return _judged(sweep, trained, start, found, said)
    return _unjudged(sweep, trained, said, _TOO_FEW)
  return _unjudged(sweep, trained, said, grid_page.UNJUDGED)


def _judged(
  sweep: Sweep,
  trained: Sequence[Contestant],
  start: Contestant | None,
  found: Comparison,
  said: list[str],
) -> Grid:
  """Writes the page of a comparison with the grid before it."""
  by_path = {entry.path: entry for entry in found.entries}
  entries = _by_cell(sweep, {one.path: by_path[one.path] for one in trained})
  moved, sampled = _logged(entries), False
  if start is not None and found.drawing.get("temperature") == 1.0:
    hosts.say("KL of each cell from the start, on its completions")
    texts = [by_path[one.path].written for one in trained]
    estimates = kl.estimate(trained, texts, start)
    if all(estimates):
      sampled = True
      moved = {
        name: each.mean
        for name, each in zip(sweep.done, estimates, strict=True)
        if each is not None
      }
  made = grid.make(
    sweep, entries, found, moved, sampled=sampled, said=(*said, *found.said)
  )
  report.write(found, sweep.folder, grid_page.sections(made), grid_page.TITLE)
  path = sweep.folder / report.TEXT
  whole = path.read_text(encoding="utf-8") + "\n" + grid_page.markdown(made)
  write_atomically(path, whole)
  write_json(sweep.folder / GRID, grid_page.as_record(made))
  return made


def _unjudged(
  sweep: Sweep, trained: Sequence[Contestant], said: list[str], why: str
) -> Grid:
  """Writes the page of held-out figures; an earlier judge's files go."""
  entries = _by_cell(sweep, {one.path: _entry(one) for one in trained})
  made = grid.make(
    sweep,
    entries,
    None,
    _logged(entries),
    sampled=False,
    said=said,
    unjudged=why,
  )
  folder = sweep.folder
  for name in (ROWS, RECORD):
    with writing(folder / name):
      (folder / name).unlink(missing_ok=True)
  write_atomically(folder / report.PAGE, grid_page.page(made))
  text = f"# {grid_page.TITLE}\n\n{grid_page.lead(made)}\n\n"
  write_atomically(folder / report.TEXT, text + grid_page.markdown(made))
  write_json(folder / GRID, grid_page.as_record(made))
  return made


def _start(trained: Sequence[Contestant], said: list[str]) -> Contestant | None:
  """What all cells started from; None where that is new, or not the same."""
  starts = {str(one.policy.about.get("start")) for one in trained}
  if len(starts) != 1:
    if starts:
      said.append(
        "the cells did not all start from the same weights, so the first cell "
        "is the baseline"
      )
    return None
  start = started_from(trained[0], said)
  if start is not None and start.is_run:
    newest = contestants.open_one(start.path)
    if newest.policy.step != start.policy.step:
      said.append(
        f"{start.path} was trained further since the cells started from it, so "
        "the first cell is the baseline"
      )
      return None
  return start


def _by_cell(sweep: Sweep, found: Mapping[str, Entry]) -> dict[str, Entry]:
  return {name: found[str(sweep.folder / name)] for name in sweep.done}


def _logged(entries: Mapping[str, Entry]) -> dict[str, float]:
  """Mean log-ratios of logged completions, of the cells that have them."""
  return {
    name: sum(entry.nats.values()) / len(entry.nats)
    for name, entry in entries.items()
    if entry.nats
  }


def _entry(one: Contestant) -> Entry:
  """What the folder of a run says, where nothing was generated."""
  return Entry(
    name=one.name,
    path=one.path,
    kind=one.kind,
    step=one.policy.step,
    written=Completions(one.name, (), ()),
    duel=None,
    scores=(),
    score=None,
    budget=budget(one),
    metrics=one.metrics,
    nats=one.nats,
    row=None,
  )
