"""What a sweep found: a value in each cell, and the mean of each option."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from offalign.compare.result import Comparison, Entry
from offalign.compare.spread import Spread, Values, spread, winner
from offalign.sweeping.record import Sweep

WIN, SCORE = "win rate", "score"
ACCURACY, AUC, LOSS = "held-out accuracy", "AUC of thumbs", "held-out loss"


@dataclasses.dataclass(frozen=True)
class Slot:
  """One cell of the grid.

  Attributes:
    name: of its folder.
    label: its option, such as "tau=0.3"; "all" in a sweep of seeds alone.
    seed: of the run.
    why: the sentence, of one that failed; "" otherwise.
    entry: what is known of the run; None of one that is not trained.
    kl: nats from the reference.
    values: measure -> its value.
  """

  name: str
  label: str
  seed: int
  why: str
  entry: Entry | None
  kl: float | None
  values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Option:
  """One row of the grid: cells that differ in their seed alone.

  Attributes:
    label: see `Slot`.
    slots: its cells, by seed.
    spreads: measure -> its mean over the seeds that are trained.
    kl: mean nats from the reference.
  """

  label: str
  slots: tuple[Slot, ...]
  spreads: Mapping[str, Spread]
  kl: float | None


@dataclasses.dataclass(frozen=True)
class Grid:
  """A sweep's cells by option and seed.

  Attributes:
    measure: what the options are compared by, one of the names above; "" where
      no cell has any.
    options: the rows.
    best: the label of the option that is better than all others; None where
      the intervals do not tell.
    comparison: the judge's; None where no judge was given.
    sampled: whether KL is an estimate on the policies' own samples; else it is
      the mean log-ratio on logged completions.
    comparable: whether options may be compared by the measure: losses of
      different kinds may not.
    said: sentences that a reader should know.
    unjudged: why no judge compared the cells; "" where one did.
  """

  measure: str
  options: tuple[Option, ...]
  best: str | None
  comparison: Comparison | None
  sampled: bool
  comparable: bool
  said: tuple[str, ...] = ()
  unjudged: str = ""

  @property
  def seeds(self) -> list[int]:
    """Of the columns."""
    return sorted({x.seed for one in self.options for x in one.slots})

  @property
  def failed(self) -> list[Slot]:
    """The cells that failed."""
    return [x for one in self.options for x in one.slots if x.why]

  def verdict(self) -> str:
    """Which option is best, or that they are not told apart; or ""."""
    ranked = [one for one in self.options if self.measure in one.spreads]
    if len(ranked) < 2:
      return ""
    if not self.comparable:
      return (
        "The options are not compared: they have different losses, whose "
        "values do not compare. Give a judge, or held-out pairs."
      )
    sign = -1 if self.measure == LOSS else 1
    top = max(ranked, key=lambda one: sign * one.spreads[self.measure].mean)
    found = text(top.spreads[self.measure])
    if self.best is not None:
      others = len(ranked) - 1
      return (
        f"{self.best} is best by {self.measure}, {found}: its difference from "
        f"{'the other' if others == 1 else f'each of the {others} others'} is "
        "resolved at 95%"
        f"{'' if others == 1 else ', all together (Bonferroni)'}."
      )
    word = "lowest" if sign < 0 else "highest"
    return (
      f"The options are not told apart by {self.measure}: the {word} is "
      f"{top.label}, {found}, and its difference from another may be chance. "
      "More seeds or prompts may tell."
    )


def text(found: Spread) -> str:
  """A mean with its interval, "0.75 [0.409, 0.929]"."""
  if math.isnan(found.low):
    return f"{found.mean:.3g}"
  return f"{found.mean:.3g} [{found.low:.3g}, {found.high:.3g}]"


def make(
  sweep: Sweep,
  entries: Mapping[str, Entry],
  comparison: Comparison | None,
  kl: Mapping[str, float],
  *,
  sampled: bool,
  said: Sequence[str] = (),
  unjudged: str = "",
) -> Grid:
  """Lays out the cells of a sweep by option and seed.

  Args:
    sweep: the cells.
    entries: cell -> what is known of its run, of those that are trained.
    comparison: the judge's, of all of them; None for none.
    kl: cell -> nats from the reference.
    sampled: see `Grid`.
    said: sentences for the page.
    unjudged: see `Grid`.
  """
  measure = _measure(sweep, entries, comparison)
  options = []
  for label in sweep.labels:
    slots = tuple(
      Slot(
        name,
        label or "all",
        cell.seed,
        cell.why if cell.state in ("failed", "diverged") else "",
        entries.get(name),
        kl.get(name),
        _values(sweep, name, entries.get(name)),
      )
      for name, cell in sweep.cells.items()
      if cell.label == label
    )
    options.append(_option(label or "all", slots, sweep))
  comparable = measure != LOSS or not any(
    axis.option == "loss" for axis in sweep.axes
  )
  best = None
  if measure and comparable:
    rows = {
      one.label: found
      for one in options
      if (found := _rows(one.slots, measure, sweep)) is not None
    }
    if measure == LOSS:
      rows = {
        label: dataclasses.replace(one, values=-one.values)
        for label, one in rows.items()
      }
    best = winner(rows)
  return Grid(
    measure,
    tuple(options),
    best,
    comparison,
    sampled,
    comparable,
    tuple(said),
    unjudged,
  )


def _measure(
  sweep: Sweep, entries: Mapping[str, Entry], comparison: Comparison | None
) -> str:
  """What all cells can be compared by."""
  trained = list(entries.values())
  if not trained:
    return ""
  if comparison is not None:
    inside = any(entry.duel is None for entry in trained)
    if inside and all(entry.scores for entry in trained):
      return SCORE  # a win rate against one of the cells favours its option
    if any(entry.duel and entry.duel.found for entry in trained):
      return WIN
  measures = [sweep.cells[name].measure for name in entries]
  kinds = {each.name if each else "" for each in measures}
  if kinds == {"accuracy"}:
    return ACCURACY
  if kinds == {"AUC"}:
    return AUC
  return LOSS if all("eval_loss" in x.metrics for x in trained) else ""


def _values(sweep: Sweep, name: str, entry: Entry | None) -> dict[str, float]:
  if entry is None:
    return {}
  found = {}
  if entry.duel is not None and entry.duel.found is not None:
    found[WIN] = entry.duel.found.rate
  if entry.score is not None:
    found[SCORE] = entry.score.mean
  measure = sweep.cells[name].measure
  if measure is not None:
    found[ACCURACY if measure.name == "accuracy" else AUC] = measure.value
  if "eval_loss" in entry.metrics:
    found[LOSS] = entry.metrics["eval_loss"]
  return found


def _option(label: str, slots: tuple[Slot, ...], sweep: Sweep) -> Option:
  spreads = {}
  for measure in (WIN, SCORE, ACCURACY, AUC, LOSS):
    rows = _rows(slots, measure, sweep)
    if rows is not None:
      spreads[measure] = _within(spread(rows.values, rows.errors), measure)
  moved = [slot.kl for slot in slots if slot.kl is not None]
  return Option(label, slots, spreads, float(np.mean(moved)) if moved else None)


def _within(found: Spread, measure: str) -> Spread:
  """An interval of a share, cut to 0 and 1."""
  if measure in (SCORE, LOSS):
    return found
  low, high = max(found.low, 0.0), min(found.high, 1.0)
  if math.isnan(found.low):
    low = high = math.nan
  return dataclasses.replace(found, low=low, high=high)


def _rows(slots: Sequence[Slot], measure: str, sweep: Sweep) -> Values | None:
  """The values of the cells that have the measure, by prompt where known."""
  having = [slot for slot in slots if measure in slot.values]
  if not having:
    return None
  seeds = tuple(slot.seed for slot in having)
  entries = [slot.entry for slot in having]
  if measure == WIN:
    said = [e.duel.said for e in entries if e and e.duel]
    return Values(
      seeds, np.array([x.preferences for x in said if x], np.float64)
    )
  if measure == SCORE:
    return Values(seeds, np.array([e.scores for e in entries if e], np.float64))
  values = np.array([slot.values[measure] for slot in having])
  if measure == LOSS:
    return Values(seeds, values)
  known = [sweep.cells[slot.name].measure for slot in having]
  errors = np.array([x.error for x in known if x])
  return Values(seeds, values, errors)
