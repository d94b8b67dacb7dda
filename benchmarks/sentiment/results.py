"""What a folder of results says, as figures."""

import dataclasses
import statistics

import numpy as np

from benchmarks.sentiment import folder as folders
from benchmarks.sentiment import gains, suite, training
from benchmarks.sentiment.folder import BASES, Completion, Folder
from benchmarks.sentiment.gains import Gain
from benchmarks.sentiment.sizes import CELLS, Cell, Sizes
from offalign.judges.win_rates import WinRate
from offalign.leaderboard import Row


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A cell: its runs on the test openings.

  Attributes:
    cell: the method and what it trains.
    rows: of its runs that did not fail.
    written: their completions, by run.
    gain: over both draws of the base model.
    win: against both draws.
    kl: nats a completion, on the policies' own samples, and its standard
      error over completions.
    farthest: the largest mean log-ratio of logged completions of any run.
    distinct: see `gains.distinct`, mean over runs.
  """

  cell: Cell
  rows: list[Row]
  written: list[list[Completion]]
  gain: Gain
  win: WinRate
  kl: tuple[float, float]
  farthest: float
  distinct: float

  @property
  def mean(self) -> float:
    """The mean score."""
    return statistics.mean(row.metrics["mean_score"] for row in self.rows)

  @property
  def reload(self) -> float | None:
    """The greatest difference to `transformers`, in nats a completion."""
    found = [r.metrics.get("transformers_difference") for r in self.rows]
    return next((x for x in found if x is not None), None)


@dataclasses.dataclass(frozen=True)
class Results:
  """All of a folder.

  Attributes:
    sizes: of the suite.
    command: that began it.
    log: the samples that the methods were trained on.
    bases: the base model's completions, by draw.
    null: the gain of the second draw over the first.
    null_win: its win rate.
    base_distinct: see `gains.distinct`, of the base model.
    outcomes: the cells that have runs.
    sweep: rows of the sweep.
    rows: rows of the test openings, failed ones too.
    missing: what has not been run, in words.
  """

  sizes: Sizes
  command: str
  log: list[Completion]
  bases: list[list[Completion]]
  null: Gain
  null_win: WinRate
  base_distinct: float
  outcomes: list[Outcome]
  sweep: list[Row]
  rows: list[Row]
  missing: list[str]

  def chosen(self, cell: Cell) -> Row | None:
    """The row of the chosen rate."""
    return suite.chosen(self.sweep, cell)


def read(folder: Folder) -> Results:
  """Reads a folder of results, whole or not.

  Raises:
    UserError: where it is none.
  """
  sizes, command = folder.settings()
  bases = [folders.read(folder.completions(name)) for name in BASES]
  rows, sweep = folder.rows(), folder.rows(sweep=True)
  outcomes = []
  for cell in CELLS:
    mine = [r for r in rows if r.label == cell.label and r.status == "ok"]
    if not mine:
      continue
    written = [
      folders.read(folder.completions(f"{cell.name}-seed{row.seed}"))
      for row in mine
    ]
    ratios = [
      x.log_ratio for each in written for x in each if x.log_ratio is not None
    ]
    outcomes.append(
      Outcome(
        cell,
        mine,
        written,
        gains.gain(_scores(written), _scores(bases)),
        training.wins(written, bases),
        _mean_and_error(ratios),
        max(map(suite.farthest, mine)),
        statistics.mean(_distinct(each) for each in written),
      )
    )
  return Results(
    sizes,
    command,
    folders.read(folder.log),
    bases,
    gains.gain(_scores(bases[1:]), _scores(bases[:1])),
    training.wins(bases[1:], bases[:1]),
    statistics.mean(map(_distinct, bases)),
    outcomes,
    sweep,
    rows,
    list(_missing(sizes, rows, sweep)),
  )


def _scores(written: list[list[Completion]]) -> np.ndarray:
  return np.array([[x.reward for x in each] for each in written])


def _distinct(written: list[Completion]) -> float:
  return gains.distinct([x.completion for x in written])


def _mean_and_error(values: list[float]) -> tuple[float, float]:
  if len(values) < 2:
    return float("nan"), float("nan")
  return (
    statistics.mean(values),
    statistics.stdev(values) / len(values) ** 0.5,
  )


def _missing(sizes: Sizes, rows: list[Row], sweep: list[Row]) -> list[str]:
  """Sentences on what a whole suite has and this one has not."""
  said = []
  swept = {row.label for row in sweep}
  for cell in CELLS:
    rates = [
      r for r in sizes.rates(cell) if f"{cell.label}, {r:g}" not in swept
    ]
    if rates:
      which = ", ".join(f"{rate:g}" for rate in rates)
      said.append(f"{cell.label}: not run at the rates {which}, nor after.")
      continue
    if suite.chosen(sweep, cell) is None:
      said.append(
        f"{cell.label}: no rate kept the policy near its start, so none was "
        "chosen."
      )
      continue
    mine = [row for row in rows if row.label == cell.label]
    failed = [row for row in mine if row.status != "ok"]
    if len(mine) < sizes.seeds:
      said.append(
        f"{cell.label}: {len(mine)} of {sizes.seeds} seeds have been run."
      )
    said += [f"{cell.label}, seed {r.seed}, failed: {r.error}" for r in failed]
  return said
