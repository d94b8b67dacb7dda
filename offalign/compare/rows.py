"""Rows of a leaderboard for the policies of a comparison."""

import collections
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from offalign.compare.contestants import Contestant
from offalign.judges.base import as_text
from offalign.leaderboard.rows import Row, Sample

TRACK = "compare"
WIN = "win_vs_baseline"
"""The metric of the win rate; the leaderboard ranks by it."""
_SAMPLES = 6
_OF_THE_START = ("out", "seed", "data.split_seed")


def labels(contestants: Sequence[Contestant]) -> list[str]:
  """Names on the board: the loss, so that seeds of one run meet in one line.

  Runs of one loss that differ in more than their seed have the folder's name
  beside it.
  """
  alike: dict[str, set[str]] = collections.defaultdict(set)
  seeds: dict[str, list[Any]] = collections.defaultdict(list)
  for one in contestants:
    config = dict(one.policy.about["config"])
    seeds[one.kind].append(config.get("seed"))
    rest = {k: v for k, v in config.items() if k not in _OF_THE_START}
    alike[one.kind].add(json.dumps(rest, sort_keys=True, default=str))
  return [
    one.kind
    if len(alike[one.kind]) == 1
    and len(set(seeds[one.kind])) == len(seeds[one.kind])
    and one.is_run
    else f"{one.kind}, {one.name}"
    for one in contestants
  ]


def make(
  one: Contestant,
  label: str,
  source: str,
  found: Mapping[str, Any],
  samples: Sequence[tuple[Any, str, float]],
) -> Row:
  """The row of a policy that a run trained.

  Args:
    one: the policy; its run has recorded what it cost.
    label: see `labels`.
    source: of the prompts.
    found: metrics of the comparison; a win rate brings its interval and folds.
    samples: prompt, completion and the judge's score, of which a few are kept.
  """
  row = one.policy.row(
    track=TRACK,
    scenario=source,
    label=label,
    metrics={name: value for name, value in found.items() if _known(value)},
  )
  kept = [
    Sample(_whole(as_text(prompt)), _whole(text), score)
    for prompt, text, score in samples[:_SAMPLES]
  ]
  return dataclasses.replace(row, samples=kept)


def _known(value: Any) -> bool:
  return value is not None and not (
    isinstance(value, float) and math.isnan(value)
  )


def _whole(text: str) -> str:
  """A text without halves of surrogate pairs, which no file holds."""
  return text.encode("utf-8", "replace").decode("utf-8")
