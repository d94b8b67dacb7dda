"""Aggregates a method's runs: means over seeds, folds and curves."""

import math
from collections.abc import Sequence

from offalign.leaderboard.board import (
  Budget,
  CurvePoint,
  Entry,
  Stat,
  mean,
  sample_sd,
)
from offalign.leaderboard.rows import BUDGET, Row


def budget_of(row: Row) -> Budget:
  """Returns the row's budget, hashable."""
  completions, tokens, steps = (row.budget[key] for key in BUDGET)
  return completions, tokens, steps


def build(rows: list[Row], notes: list[str]) -> Entry | None:
  """Aggregates the runs of one label and budget; None where all failed."""
  runs = [row for row in rows if row.status == "ok"]
  if not runs:
    return None
  label = runs[0].label
  keys = sorted({key for row in runs for key in row.metrics})
  metrics = {
    key: Stat({r.seed: r.metrics[key] for r in runs if key in r.metrics})
    for key in keys
  }
  for key, stat in metrics.items():
    if stat.n < len(runs):
      notes.append(
        f"{label}: {key} is there for {stat.n} of {len(runs)} seeds."
      )
    if not stat.finite:
      notes.append(f"{label}: {key} is not finite for every seed.")
  memory = [r.peak_memory_mb for r in runs if math.isfinite(r.peak_memory_mb)]
  return Entry(
    label=label,
    loss=runs[0].loss,
    data_view=runs[0].data_view,
    control=runs[0].control,
    budget=budget_of(runs[0]),
    seeds=tuple(row.seed for row in runs),
    failed_seeds=tuple(r.seed for r in rows if r.status == "failed"),
    metrics=metrics,
    fold_sd=_fold_sd(runs),
    seconds={
      key: Stat({row.seed: row.seconds[key] for row in runs})
      for key in runs[0].seconds
    },
    peak_memory_mb=max(memory, default=math.nan),
    curves=_curves(label, runs, notes),
    selection=runs[0].selection,
    samples=next((tuple(r.samples) for r in runs if r.samples), ()),
    command=max(runs, key=lambda row: row.seed).command,
    measurement=runs[0].measurement,
  )


def _fold_sd(runs: Sequence[Row]) -> dict[str, float]:
  keys = sorted({key for row in runs for key in row.folds})
  spreads = {
    key: [sample_sd(list(r.folds[key])) for r in runs if key in r.folds]
    for key in keys
  }
  return {
    key: mean([sd for sd in values if sd is not None])
    for key, values in spreads.items()
  }


def _curves(
  label: str, runs: Sequence[Row], notes: list[str]
) -> dict[str, tuple[CurvePoint, ...]]:
  curves = {}
  for key in sorted({key for row in runs for key in row.curves}):
    by_step: dict[int, list[float]] = {}
    having = [row.curves[key] for row in runs if key in row.curves]
    for curve in having:
      for step, value in curve:
        by_step.setdefault(int(step), []).append(value)
    shared = {s: v for s, v in by_step.items() if len(v) == len(having)}
    if len(shared) < len(by_step):
      notes.append(
        f"{label}: {len(by_step) - len(shared)} of {len(by_step)} steps of "
        f"the curve of {key} are not in every seed and are left out."
      )
    curves[key] = tuple(
      CurvePoint(step, mean(shared[step]), sample_sd(shared[step]))
      for step in sorted(shared)
    )
  return curves
