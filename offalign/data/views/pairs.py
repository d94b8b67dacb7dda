"""Pairs: as they are in the data, or made of scored completions."""

import collections
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

from offalign.data.reading.records import Record, count
from offalign.data.views import feedback, margins, rewards
from offalign.data.views.feedback import Notes, Scored
from offalign.data.views.rows import Needs, Row, check_feedback, row_of
from offalign.errors import UserError, option

PairRule = Literal["all", "best_worst", "best_random", "adjacent", "random"]
PAIRS_OF = {
  "all": "any two completions of a prompt",
  "best_worst": "the best and the worst completion of a prompt",
  "best_random": "the best and a random other completion of a prompt",
  "adjacent": "completions 0 and 1, 2 and 3, ... of a prompt",
  "random": "a prompt's completions two by two, in random order",
}
"""Rule -> what it pairs."""


def given_pairs(
  records: Sequence[Record],
  wants: Needs,
  notes: Notes,
  min_margin: float | None = None,
) -> list[Row]:
  """Takes pairs as they are in the data; a text beside itself is a tie.

  Raises:
    UserError: where the size of preferences matters, and is not known.
  """
  logged = records[0].rewards is not None
  sized = wants.rewards or wants.margins or min_margin is not None
  rated = logged or any(r.margin is not None for r in records)
  differing = [
    r
    for r in records
    if r.completions[0] != r.completions[1] or (rated and wants.rewards)
  ]
  same = len(records) - len(differing)
  if same:
    notes.add(
      f"{count(same, 'pair')} dropped: chosen and rejected are the same text",
      same_text_dropped=same,
    )
  gaps = margins.of_all(differing) if sized else [0.0] * len(differing)
  kept = list(zip(differing, gaps, strict=True))
  if min_margin is not None:
    kept = [(r, gap) for r, gap in kept if gap >= min_margin]
  _note_close(len(differing) - len(kept), min_margin, notes)
  if len(kept) < len(records):
    notes.counts["completions_unused"] = 2 * (len(records) - len(kept))
  as_rewards = wants.rewards and not logged
  if as_rewards:
    notes.add(
      "margins are read as rewards: the margin for chosen, 0 for rejected, and "
      "not normalised"
    )
  if wants.labels:
    notes.add(
      "labels made from pairs: true for chosen, false for rejected",
      labels_made=2 * len(kept),
    )
  rows = [
    Row(
      r.prompt,
      r.completions,
      r.rewards if logged else ((gap, 0.0) if as_rewards else None),
      (True, False) if wants.labels else None,
      (f"{r.source}[0]", f"{r.source}[1]"),
      r.behaviour_logps if wants.behaviour_logps else None,
      gap=gap if wants.margins else None,
      rewards_are_margins=as_rewards,
      marks=r.marks if wants.marks else None,
    )
    for r, gap in kept
  ]
  _note_margins(rows, notes)
  return rows


def made_pairs(
  records: Sequence[Record],
  rule: PairRule,
  wants: Needs,
  notes: Notes,
  *,
  min_margin: float | None = None,
  seed: int = 0,
) -> list[Row]:
  """Makes pairs of a prompt's completions, the better one first."""
  check_feedback(records, "pairs")
  items = feedback.flatten(records, notes)
  logged = items[0].reward is not None
  if wants.margins and not logged:
    raise UserError(
      "this loss reads by how much the chosen completion is better, and labels "
      "say no more than which is: log scores in place of labels, or take a "
      "loss or an option that needs the order alone"
    )
  if not logged:
    items = rewards.with_rewards(
      items, share_of_wins=False, notes=notes if wants.rewards else Notes()
    )
  rows: list[Row] = []
  used: set[int] = set()
  found: collections.Counter[str] = collections.Counter()
  groups = feedback.group_by_prompt(items)
  couples = (_couples(group, rule, seed) for group in groups)
  for a, b in itertools.chain.from_iterable(couples):
    alike = _alike(a, b)
    if alike and not wants.rewards:
      found[alike] += 1
      continue
    if min_margin is not None and abs(a.value - b.value) < min_margin:
      found["close"] += 1
      continue
    found[alike] += 1
    used |= {id(a), id(b)}
    row = row_of((b, a) if b.value > a.value else (a, b))
    rows.append(
      dataclasses.replace(
        row,
        rewards=row.rewards if logged or wants.rewards else None,
        labels=(True, False) if wants.labels else None,
        behaviour_logps=row.behaviour_logps if wants.behaviour_logps else None,
        gap=row.margin if wants.margins else None,
        marks=row.marks if wants.marks else None,
      )
    )
  notes.add(f"pairs made of {PAIRS_OF[rule]} ({option('pairs', repr(rule))})")
  what = "rewards" if logged else "labels"
  _note_ties(found["tie"], found["same_text"], what, wants.rewards, notes)
  _note_close(found["close"], min_margin, notes)
  _note_unpaired(groups, len(items) - len(used), notes)
  if logged:
    _note_margins(rows, notes)
  if wants.labels:
    notes.add(
      "labels made from pairs: true for the better, false for the other"
    )
  return rows


def _alike(a: Scored, b: Scored) -> str:
  """Why two completions make no pair: "tie", "same_text", or "" if they do."""
  if a.value == b.value:
    return "tie"
  return "same_text" if a.completion == b.completion else ""


def _couples(
  group: list[Scored], rule: PairRule, seed: int
) -> Sequence[tuple[Scored, Scored]]:
  if len(group) < 2:
    return []
  if rule == "all":
    return list(itertools.combinations(group, 2))
  if rule == "adjacent":
    return list(zip(group[::2], group[1::2], strict=False))
  drawn = sorted(group, key=lambda item: feedback.lot(item, seed))
  if rule == "random":
    return list(zip(drawn[::2], drawn[1::2], strict=False))
  # Two entries even where all rewards are the same: that is a tie.
  best = max(drawn, key=lambda item: item.value)
  others = [item for item in drawn if item is not best]
  if rule == "best_random":
    return [(best, others[0])]
  return [(best, min(others, key=lambda item: item.value))]


def _note_ties(
  ties: int, same: int, what: str, kept: bool, notes: Notes
) -> None:
  """Notes ties, and pairs of one text; losses on rewards may keep them."""
  verb = "kept" if kept else "dropped"
  done = f"{verb}: this loss reads rewards" if kept else verb
  if ties:
    notes.add(
      f"{count(ties, 'pair')} of equal {what} {done}", **{f"ties_{verb}": ties}
    )
  if same:
    notes.add(
      f"{count(same, 'pair')} of one text with different {what} {done}",
      **{f"same_text_{verb}": same},
    )


def _note_close(close: int, min_margin: float | None, notes: Notes) -> None:
  if close:
    notes.add(
      f"{count(close, 'pair')} dropped: rewards less than {min_margin:g} apart",
      margin_dropped=close,
    )


def _note_margins(rows: Sequence[Row], notes: Notes) -> None:
  found = [row.margin for row in rows if row.margin is not None]
  if found:
    notes.add(
      f"margins (chosen less rejected reward): mean "
      f"{feedback.mean(found):.4g}, from {min(found):.4g} to "
      f"{max(found):.4g}"
    )


def _note_unpaired(
  groups: list[list[Scored]], unused: int, notes: Notes
) -> None:
  alone = sum(len(group) == 1 for group in groups)
  if alone:
    notes.add(
      f"{count(alone, 'prompt')} with one completion: no pair",
      prompts_alone=alone,
    )
  if unused:
    notes.add(
      f"{count(unused, 'completion')} in no pair", completions_unused=unused
    )
