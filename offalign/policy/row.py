"""Make a leaderboard row of a run, from the files of its folder."""

import pathlib
from collections.abc import Mapping
from typing import Any

from offalign.errors import UserError
from offalign.leaderboard.rows import Row
from offalign.losses import Loss
from offalign.policy.folder import (
  COST,
  PREFIX,
  curves,
  held_out_metrics,
  read_cost,
)
from offalign.statistics.outcomes import MOST, encode
from offalign.types import Kind

TRACK = "runs"
_NOUNS = {Kind.SINGLE: "single", Kind.PAIR: "pairs", Kind.GROUP: "groups"}
_FEEDBACK = ("rewards", "margins", "labels", "behaviour_logps")
_VIEW = (
  "pairs",
  "min_margin",
  "label_rule",
  "label_threshold",
  "group_size",
  "best_of_n",
  "top_fraction",
  "train_on",
)


def make(
  folder: pathlib.Path,
  about: dict[str, Any],
  step: int,
  loss: Loss,
  *,
  track: str = TRACK,
  scenario: str | None = None,
  seed: int | None = None,
  label: str | None = None,
  metrics: Mapping[str, Any] | None = None,
) -> Row:
  """The row of a run's checkpoint; see `Policy.row`.

  Args:
    folder: the run folder.
    about: its run.json.
    step: of the checkpoint.
    loss: that trained it.
    track: see `Row`.
    scenario: see `Row`; default: the name of the training data.
    seed: see `Row`; default: the run's.
    label: see `Row`; default: the loss's spec.
    metrics: see `Policy.row`.

  Raises:
    UserError: where the run has not recorded what it cost, or a field is not
      as `Row` wants it.
  """
  cost, config = read_cost(folder), about["config"]
  if cost is None:
    raise UserError(
      f"{folder} has no {COST}, which training writes with each checkpoint: "
      "its seconds and memory are not known"
    )
  found: dict[str, Any] = dict(held_out_metrics(folder, step))
  folds: dict[str, Any] = {}
  outcomes: dict[str, Any] = {}
  asked: set[str] = set()
  for name, value in (metrics or {}).items():
    # A `WinRate`, which is of a floor above this one.
    if hasattr(value, "rate"):
      found[f"{name}_low"], found[f"{name}_high"] = value.low, value.high
      share = getattr(value, "unfinished", (None, None))[0]
      if share:
        found[f"{name}_unfinished"] = share
      if value.folds:
        folds[name] = list(value.folds)
      by_prompt = getattr(value, "outcomes", ())
      if getattr(value, "prompt_set", "") and len(by_prompt) <= MOST:
        outcomes[name] = encode(by_prompt)
        asked.add(value.prompt_set)
      value = value.rate
    found[name] = value
  if len(asked) > 1:  # outcomes of different prompts have no common order
    outcomes = {}
  data = str(config.get("data.path", ""))
  return Row(
    track=track,
    scenario=scenario or pathlib.Path(data).name or "data",
    loss=str(loss),
    label=label or str(loss),
    data_view=_view(loss, config),
    model=about["model"],
    seed=config["seed"] if seed is None else seed,
    budget={
      "completions": cost["completions"],
      "tokens": cost["positions"],
      "steps": cost["step"],
    },
    metrics=found,
    seconds=cost["seconds"],
    peak_memory_mb=cost["peak_memory_mb"],
    versions=cost["versions"],
    revision=cost["revision"],
    folds=folds,
    curves={
      name: [[s, value] for s, value in points]
      for name, points in curves(folder).items()
      if name.startswith(PREFIX)
    },
    selection=_selection(step, cost["step"], config),
    outcomes=outcomes,
    prompts=asked.pop() if outcomes else "",
  )


def _view(loss: Loss, config: dict[str, Any]) -> str:
  """What the loss saw: "pairs, rewards, min_margin=0.5"."""
  words = [_NOUNS[loss.kind]]
  words += [need for need in _FEEDBACK if need in loss.needs]
  for name in _VIEW:
    value = config.get(f"data.{name}")
    if value is not None:
      words.append(f"{name}={value}")
  return ", ".join(words)


def _selection(step: int, last: int, config: dict[str, Any]) -> str:
  if step == last:
    return ""
  by = config.get("keep_best")
  return f"step {step} of {last}" + (f", kept by {by}" if by else "")
