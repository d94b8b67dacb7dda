"""Aggregates rows into a board: means over seeds, and what may be ranked.

Only equal budgets are ranked, nothing is picked in silence: rows that cannot
be compared stay on the board, unranked, with a sentence that says why.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence

from offalign.errors import UserError, option, suggest
from offalign.leaderboard import columns, comparisons, ranking, store
from offalign.leaderboard.board import (
  Board,
  Entry,
  Failure,
  Group,
  Stat,
)
from offalign.leaderboard.duels import head_to_head
from offalign.leaderboard.entries import budget_of, build
from offalign.leaderboard.meta import Meta
from offalign.leaderboard.meta import load as load_meta
from offalign.leaderboard.rows import Row

OTHER_BUDGET = "other budget"
OLD = "measured as an earlier version of the benchmark does"


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
    meta=load_meta(pathlib.Path(directory)),
    sort=sort,
  )


def aggregate(
  rows: Sequence[Row],
  *,
  problems: Iterable[str] = (),
  meta: Meta | None = None,
  sort: str | None = None,
) -> Board:
  """Builds the board from rows.

  Args:
    rows: in the order they were written; of two rows with the same track,
      scenario, model, label, budget and seed the later is used.
    problems: sentences to pass on, as `store.read` returns them.
    meta: what the benchmark says about itself.
    sort: a metric to rank by, `metric`, `metric:min` or `metric:max`.

  Returns:
    A board that does not depend on the order of distinct rows.

  Raises:
    UserError: where `sort` is no metric of any row, or where one label names
      two methods of a group.
  """
  meta = meta or Meta()
  _check_sort(rows, sort)
  rows_read = len(rows)
  environments = collections.Counter(
    (", ".join(f"{k} {v}" for k, v in sorted(r.versions.items())), r.revision)
    for r in rows
  )
  rows, twice = _latest(rows)
  by_group: dict[tuple[str, str, str], list[Row]] = {}
  for row in rows:
    by_group.setdefault(row.group, []).append(row)
  groups = tuple(_group(by_group[key], sort) for key in sorted(by_group))
  return Board(
    groups=groups,
    problems=(*problems, *twice, *_unused_oracle(meta, groups)),
    environments=dict(sorted(environments.items())),
    meta=meta,
    rows=rows_read,
  )


def _check_sort(rows: Sequence[Row], sort: str | None) -> None:
  present = {key for row in rows for key in row.metrics}
  if sort is not None and sort.partition(":")[0] not in present:
    key = sort.partition(":")[0]
    raise UserError(
      f"{option('sort', sort)}: no row has the metric {key!r}"
      f"{suggest(key, present)}"
    )


def _latest(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
  """Keeps the last row of each key, and says which had more than one."""
  written: dict[tuple, list[Row]] = {}
  for row in rows:
    key = (*row.group, row.label, budget_of(row), row.measurement, row.seed)
    written.setdefault(key, []).append(row)
  sentences = [
    f"{copies[0].label} (seed {copies[0].seed}, "
    f"{'/'.join(copies[0].group)}) was written {len(copies)} times; the last "
    "is used."
    for _, copies in sorted(written.items())
    if len(copies) > 1
  ]
  return [copies[-1] for _, copies in sorted(written.items())], sentences


def _unused_oracle(meta: Meta, groups: Sequence[Group]) -> list[str]:
  keys = {""}
  for group in groups:
    keys |= {group.track, f"{group.track}/{group.scenario}", group.key}
  return [
    f"meta.json: the oracle for {key!r} matches no row{suggest(key, keys)}."
    for key in sorted(set(meta.oracle) - keys)
  ]


def _group(rows: list[Row], sort: str | None) -> Group:
  _check_labels(rows)
  track, scenario, model = rows[0].group
  notes: list[str] = []
  runs: dict[comparisons.Key, list[Row]] = {}
  for row in rows:
    key = row.label, budget_of(row), row.measurement
    runs.setdefault(key, []).append(row)
  built = [(build(same, notes), same) for same in runs.values()]
  every = [
    comparisons.with_errors(entry, same)
    for entry, same in built
    if entry is not None
  ]
  newest = max((entry.measurement for entry in every), default=1)
  done = [entry for entry in every if entry.measurement == newest]
  old = [entry for entry in every if entry.measurement < newest]
  trained = [entry for entry in done if not entry.control]
  budget = ranking.common_budget(trained)
  equal = [entry for entry in trained if entry.budget == budget]
  others = [entry for entry in trained if entry.budget != budget]
  controls = [entry for entry in done if entry.control]
  present = {key for entry in equal or trained for key in entry.metrics}
  sort_by = columns.sort_column(track, present, sort)
  ranked, unranked = ranking.rank(equal, sort_by)
  notes += _selected(done)
  notes += ranking.budget_notes(budget, others) + ranking.seed_notes(equal)
  rows = [row for row in rows if row.measurement == newest or row.error]
  duels = _duels(rows, [*equal, *controls], notes)
  found = comparisons.compare(ranked, rows, sort_by)
  said = comparisons.said(found, sort_by) if found and sort_by else []
  return Group(
    track=track,
    scenario=scenario,
    model=model,
    budget=budget,
    sort=sort_by,
    ranked=tuple(ranked),
    controls=tuple(_because("control", controls)),
    unranked=tuple(
      unranked + _because(OTHER_BUDGET, others) + _because(OLD, old)
    ),
    failures=tuple(
      Failure(
        label=r.label,
        seed=r.seed,
        budget=budget_of(r),
        error=" ".join(str(r.error).split()),
        command=r.command,
      )
      for r in rows
      if r.status == "failed"
    ),
    duels=duels,
    notes=tuple(notes),
    ranking=found,
    said=tuple(said),
  )


def _selected(entries: Sequence[Entry]) -> list[str]:
  """Says whose checkpoints were chosen, and how."""
  by: dict[str, list[str]] = {}
  for entry in entries:
    if entry.selection and entry.label not in by.get(entry.selection, ()):
      by.setdefault(entry.selection, []).append(entry.label)
  return [
    f"The checkpoint was selected {how}: {', '.join(sorted(labels))}."
    for how, labels in sorted(by.items())
  ]


def _because(reason: str, entries: Sequence[Entry]) -> list[Entry]:
  return [dataclasses.replace(entry, reason=reason) for entry in entries]


def _duels(
  rows: Sequence[Row], playing: Sequence[Entry], notes: list[str]
) -> dict[tuple[str, str], Stat]:
  """Builds the head-to-head table of the entries that share a table."""
  keys = {(entry.label, entry.budget) for entry in playing}
  duelists = [
    row
    for row in rows
    if row.status == "ok" and (row.label, budget_of(row)) in keys
  ]
  table, said = head_to_head(duelists, [entry.label for entry in playing])
  notes += said
  left_out = sum(1 for row in rows if row.duels and row not in duelists)
  if left_out:
    notes.append(
      f"Duels of {left_out} failed or unequal-budget runs are left out."
    )
  return table


def _check_labels(rows: Sequence[Row]) -> None:
  """Refuses a label of two methods; a failed run need not know its view."""
  meanings: dict[str, tuple[str, str, bool, str]] = {}
  for row in rows:
    if row.status == "failed":
      continue
    meaning = (row.loss, row.data_view, row.control, row.selection)
    if meanings.setdefault(row.label, meaning) != meaning:
      raise UserError(
        f"the label {row.label!r} of {'/'.join(row.group)} names both "
        f"{meanings[row.label]} and {meaning} (loss, data view, control, "
        "selection): give each method a label of its own"
      )
