"""--suite=sentiment: every run in its order, each once."""

import time
from collections.abc import Sequence

import tqdm

from benchmarks.sentiment import sampling, training
from benchmarks.sentiment.sizes import CELLS, MOST_NATS, Cell
from benchmarks.sentiment.training import Task
from offalign.leaderboard import Row


def run(task: Task, cells: Sequence[Cell] | None = None) -> None:
  """Runs what the folder lacks: samples, sweep, and the chosen runs.

  A cell is finished before the next begins, so that a suite that is stopped
  leaves whole cells. Rows are written one by one; the run that was cut off is
  made again, or goes on from its checkpoint.

  Args:
    task: what every run shares.
    cells: which to run; default: all.
  """
  sizes = task.sizes
  count = sum(len(sizes.rates(c)) + sizes.seeds for c in CELLS)
  done = len(task.folder.rows()) + len(task.folder.rows(sweep=True))
  with tqdm.tqdm(
    total=count, initial=done, unit="run", dynamic_ncols=True
  ) as bar:
    bar.set_description_str("samples of the base model")
    sampling.log(task.folder, task.base, sizes, task.score)
    for cell in CELLS if cells is None else cells:
      _cell(task, cell, bar)


def _cell(task: Task, cell: Cell, bar: tqdm.tqdm) -> None:
  for rate in task.sizes.rates(cell):
    label = f"{cell.label}, {rate:g}"
    if label not in {row.label for row in task.folder.rows(sweep=True)}:
      _say(bar, f"{label}: sweep")
      task.folder.add(training.sweep(task, cell, rate), sweep=True)
      bar.update()
  best = chosen(task.folder.rows(sweep=True), cell)
  if best is None:
    _say(bar, f"{cell.label}: no rate stays within {MOST_NATS:g} nats")
    return
  for seed in range(task.sizes.seeds):
    made = {(row.label, row.seed) for row in task.folder.rows()}
    if (cell.label, seed) not in made:
      _say(bar, f"{cell.label}, {best.metrics['rate']:g}, seed {seed}")
      row = training.final(task, cell, best.metrics["rate"], seed)
      task.folder.add(row)
      bar.update()
  training.drop(task, cell)


def _say(bar: tqdm.tqdm, what: str) -> None:
  bar.set_description_str(what)
  bar.write(f"{time.strftime('%H:%M:%S')} {what}")


def of_cell(rows: list[Row], cell: Cell) -> list[Row]:
  """The rows of a cell in a sweep."""
  return [row for row in rows if row.label.startswith(f"{cell.label}, ")]


def farthest(row: Row) -> float:
  """The largest mean log-ratio of logged completions, without its sign."""
  found = [v for k, v in row.metrics.items() if k.startswith("log_ratio/")]
  return max(map(abs, found), default=float("inf"))


def chosen(rows: list[Row], cell: Cell) -> Row | None:
  """The row of the rate that a sweep chooses for a cell.

  It is the one of the highest mean score on the validation openings, among
  those whose policies stayed within `MOST_NATS`; None where none did.

  Args:
    rows: of the sweep.
    cell: the method and what it trains.
  """
  near = [
    row
    for row in of_cell(rows, cell)
    if row.status == "ok" and farthest(row) < MOST_NATS
  ]
  return max(near, key=lambda row: row.metrics["mean_score"], default=None)
