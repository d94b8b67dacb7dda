"""The board as JSON."""

import dataclasses
from typing import Any

from offalign.leaderboard.board import Board, Entry, Group, Stat
from offalign.leaderboard.rows import BUDGET


def as_json(board: Board) -> dict[str, Any]:
  """Returns the board as nested dicts and lists, values of every seed too."""
  return {
    "title": board.meta.title,
    "scale": board.meta.scale,
    "command": board.meta.command,
    "verdicts": list(board.meta.verdicts),
    "notes": list(board.meta.notes),
    "problems": list(board.problems),
    "rows": board.rows,
    "environments": [
      {"versions": versions, "revision": revision, "rows": count}
      for (versions, revision), count in board.environments.items()
    ],
    "groups": [_group(board, group) for group in board.groups],
  }


def _group(board: Board, group: Group) -> dict[str, Any]:
  sort = group.sort
  return {
    "key": group.key,
    "track": group.track,
    "scenario": group.scenario,
    "model": group.model,
    "budget": group.budget and dict(zip(BUDGET, group.budget, strict=True)),
    "sort": sort and {"metric": sort.key, "lower_is_better": sort.lower},
    "entries": [_entry(entry) for entry in group.entries],
    "failures": [
      {
        "label": bad.label,
        "seed": bad.seed,
        "budget": dict(zip(BUDGET, bad.budget, strict=True)),
        "error": bad.error,
        "command": bad.command,
      }
      for bad in group.failures
    ],
    "head_to_head": [
      {"a": a, "b": b, **_stat(stat)} for (a, b), stat in group.duels.items()
    ],
    "oracle": list(board.meta.points(group.track, group.scenario, group.model)),
    "notes": list(group.notes),
    "said": list(group.said),
    "top": sorted(group.starred),
    "comparisons": [
      {**dataclasses.asdict(pair.estimate), "a": pair.a, "b": pair.b}
      | {"holm_p": pair.p, "paired": pair.paired}
      for pair in (group.ranking.pairs if group.ranking else ())
    ],
  }


def _entry(entry: Entry) -> dict[str, Any]:
  record = dataclasses.asdict(entry)
  record["budget"] = dict(zip(BUDGET, entry.budget, strict=True))
  record["metrics"] = {k: _stat(stat) for k, stat in entry.metrics.items()}
  record["seconds"] = {k: _stat(stat) for k, stat in entry.seconds.items()}
  return record


def _stat(stat: Stat) -> dict[str, Any]:
  return {
    "mean": stat.mean,
    "sd": stat.sd,
    "n": stat.n,
    "by_seed": dict(stat.by_seed),
  }
