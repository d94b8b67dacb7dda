"""Which methods of a group differ: standard errors, pairs and the top set."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np

from offalign.leaderboard.board import Budget, Comparison, Entry, Ranking
from offalign.leaderboard.columns import Column
from offalign.leaderboard.entries import budget_of
from offalign.leaderboard.rows import Row
from offalign.statistics import differences, multiple, student
from offalign.statistics.outcomes import decode

Key = tuple[str, Budget, int]
"""(label, budget, measurement): the runs of one entry."""


def with_errors(entry: Entry, rows: Sequence[Row]) -> Entry:
  """Adds each metric's standard error, from outcomes where rows hold them."""
  runs = _runs(rows)
  errors = {}
  for key, stat in entry.metrics.items():
    if stat.finite:
      table = _by_prompt(runs, key)[1]
      values = _by_seed(runs, key)
      if table is not None and len(table) == stat.n:
        values = table
      errors[key] = differences.mean(values)
  return dataclasses.replace(entry, errors=errors)


def compare(
  ranked: Sequence[Entry], rows: Sequence[Row], sort: Column | None
) -> Ranking | None:
  """Compares every two ranked methods by the metric that ranks them.

  Differences are paired by prompt where the rows of both hold the metric's
  outcomes on the same prompts, and are of means of seeds otherwise.

  Args:
    ranked: best first.
    rows: of the group.
    sort: the metric; None compares nothing.

  Returns:
    All pairs, better first, with Holm's p-values, and the top set; None for
    fewer than two methods.
  """
  if sort is None or len(ranked) < 2:
    return None
  runs: dict[Key, list[Row]] = {}
  for row in rows:
    runs.setdefault((row.label, budget_of(row), row.measurement), []).append(
      row
    )
  of = {
    entry.label: _runs(runs[entry.label, entry.budget, entry.measurement])
    for entry in ranked
  }
  tables = {label: _by_prompt(each, sort.key) for label, each in of.items()}
  seeds = {label: _by_seed(each, sort.key) for label, each in of.items()}
  found = []
  for a, b in itertools.combinations([entry.label for entry in ranked], 2):
    (prompts, first), (others, second) = tables[a], tables[b]
    paired = first is not None and second is not None and prompts == others
    estimate = (
      differences.difference(first, second)
      if first is not None and second is not None and prompts == others
      else differences.difference(seeds[a], seeds[b])
    )
    found.append((a, b, estimate, paired))
  adjusted = multiple.holm([estimate.p for _, _, estimate, _ in found])
  pairs = tuple(
    Comparison(a, b, estimate, p, paired)
    for (a, b, estimate, paired), p in zip(found, adjusted, strict=True)
  )
  top = multiple.top_set(
    [entry.label for entry in ranked],
    {(pair.a, pair.b): pair.p for pair in pairs if _ordered(pair, sort)},
  )
  return Ranking(pairs, top, _detectable(pairs))


def _ordered(pair: Comparison, sort: Column) -> bool:
  """Whether the first is better by the outcomes too, not only as printed."""
  return pair.estimate.mean < 0 if sort.lower else pair.estimate.mean > 0


def _detectable(pairs: Sequence[Comparison]) -> float | None:
  """The difference that one pair alone would show with 80% power."""
  known = [p.estimate for p in pairs if math.isfinite(p.estimate.se)]
  reaches = [
    e.se * (student.quantile(round(e.df, 3)) + student.quantile(e.df, 0.6))
    for e in known
  ]
  return statistics.median(reaches) if reaches else None


def _runs(rows: Sequence[Row]) -> list[Row]:
  return sorted(
    (row for row in rows if row.status == "ok"), key=lambda row: row.seed
  )


def _by_seed(runs: Sequence[Row], key: str) -> np.ndarray:
  """[S, 1]: the metric of each seed."""
  return np.array([[row.metrics[key]] for row in runs if key in row.metrics])


def _by_prompt(runs: Sequence[Row], key: str) -> tuple[str, np.ndarray | None]:
  """The prompts' digest and [S, N]; ("", None) where a run lacks them."""
  having = [row for row in runs if key in row.metrics]
  digests = {row.prompts for row in having if key in row.outcomes}
  if len(digests) != 1 or not all(key in row.outcomes for row in having):
    return "", None
  return digests.pop(), np.array([decode(r.outcomes[key]) for r in having])


def said(ranking: Ranking, sort: Column) -> list[str]:
  """What the comparisons found, in sentences under the table."""
  pairs = ranking.pairs
  paired = sum(pair.paired for pair in pairs)
  measured = [p for p in pairs if math.isfinite(p.estimate.se)]
  if not measured:
    return [
      "Of one seed a method, without outcomes of prompts, nothing says which "
      "of these differences are real: the order is that of the means."
    ]
  how = {
    len(pairs): "paired by prompt",
    0: "over seeds alone, since the rows do not hold the outcomes of prompts",
  }.get(
    paired,
    f"{paired:,} paired by prompt, the others over seeds alone, since their "
    "rows do not hold the outcomes of the same prompts",
  )
  resolved = sum(pair.p <= multiple.ALPHA for pair in pairs)
  count = len(pairs)
  out = [
    f"* The top set: no other method is resolved to have a better "
    f"{sort.title}, and their order among themselves is none. "
    f"{resolved:,} of {count:,} {'pair' if count == 1 else 'pairs'} "
    f"{'is' if resolved == 1 else 'are'} resolved, at a chance of "
    f"{multiple.ALPHA:.0%} that any is so by mistake (differences {how}; "
    "Holm's correction for all pairs)."
  ]
  one_seed = sum(max(p.estimate.seeds) == 1 for p in measured)
  if one_seed:
    out.append(
      "One seed a method: the errors are over prompts alone, and another seed "
      "may differ by more."
    )
  if ranking.detectable is not None:
    out.append(
      f"Of one pair, chosen beforehand, a difference of {sort.title} of about "
      f"{ranking.detectable:.3f} is seen with 80% power."
    )
  return out
