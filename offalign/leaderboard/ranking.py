"""Ranks methods of equal budget, and says why others are not ranked."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

from offalign.leaderboard import columns
from offalign.leaderboard.board import Budget, Entry
from offalign.leaderboard.rows import BUDGET


def common_budget(trained: Sequence[Entry]) -> Budget | None:
  """Returns the budget of most methods, then of most runs; None at a tie."""
  methods = collections.Counter(entry.budget for entry in trained)
  runs: collections.Counter[Budget] = collections.Counter()
  for entry in trained:
    runs[entry.budget] += len(entry.seeds)
  order = sorted(methods, key=lambda b: (methods[b], runs[b]), reverse=True)
  counts = [(methods[budget], runs[budget]) for budget in order]
  if not counts or counts.count(counts[0]) > 1:
    return None
  return order[0]


def rank(
  entries: Sequence[Entry], chosen: columns.Column | None
) -> tuple[list[Entry], list[Entry]]:
  """Ranks entries by the mean of a metric, best first.

  Args:
    entries: of one budget.
    chosen: the metric; None ranks nothing.

  Returns:
    The ranked entries, and those without a finite value, with the reason.
  """
  ranked: list[tuple[float, str, Entry]] = []
  unranked: list[Entry] = []
  for entry in entries:
    stat = entry.metrics.get(chosen.key) if chosen else None
    if chosen is None or stat is None:
      missing = f"no {chosen.title}" if chosen else "no metric to rank by"
      unranked.append(dataclasses.replace(entry, reason=missing))
    elif not stat.finite:
      reason = f"{chosen.title} is not finite"
      unranked.append(dataclasses.replace(entry, reason=reason))
    else:
      printed = float(columns.cell(chosen.key, stat.mean))
      score = printed if chosen.lower else -printed
      ranked.append((score, entry.label, entry))
  ranked.sort(key=lambda item: item[:2])
  scores = [score for score, _, _ in ranked]
  placed = [
    dataclasses.replace(entry, rank=scores.index(score) + 1)
    for score, _, entry in ranked
  ]
  return placed, unranked


def budget_text(budget: Budget) -> str:
  """Returns "9,600 completions, 105,600 tokens, 300 steps"."""
  return ", ".join(
    f"{count:,} {name}" for count, name in zip(budget, BUDGET, strict=True)
  )


def budget_notes(budget: Budget | None, others: Sequence[Entry]) -> list[str]:
  """Says which rows are of another budget than the ranked one."""
  if not others:
    return []
  rows = "; ".join(
    f"{entry.label} ({_seeds(entry)}: {budget_text(entry.budget)})"
    for entry in others
  )
  if budget is None:
    return [f"No budget is the most common, so nothing is ranked: {rows}."]
  return [
    "Only the most common budget of the group is ranked; of another budget: "
    f"{rows}."
  ]


def seed_notes(entries: Sequence[Entry]) -> list[str]:
  """Says which methods are means over other seeds than the rest."""
  sets: Mapping[tuple[int, ...], list[str]] = collections.defaultdict(list)
  for entry in entries:
    sets[entry.seeds].append(entry.label)
  if len(sets) < 2:
    return []
  parts = "; ".join(
    f"{', '.join(map(str, seeds))} for {', '.join(labels)}"
    for seeds, labels in sorted(sets.items())
  )
  return [f"The means are over different seeds: {parts}."]


def _seeds(entry: Entry) -> str:
  word = "seed" if len(entry.seeds) == 1 else "seeds"
  return f"{word} {', '.join(map(str, entry.seeds))}"
