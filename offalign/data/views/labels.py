"""Labels for completions: as given, from pairs, or from rewards."""

import collections
import dataclasses
from typing import Literal

from offalign.data.reading.records import Prompt, count
from offalign.data.views import feedback
from offalign.data.views.feedback import Notes, Scored
from offalign.errors import UserError, option

LabelRule = Literal["given", "global_mean", "prompt_mean"]
LABEL_RULES = ("given", "global_mean", "prompt_mean")


def with_labels(
  items: list[Scored],
  rule: LabelRule | None,
  *,
  paired: bool,
  threshold: float | None,
  notes: Notes,
) -> tuple[list[Scored], float | None]:
  """Gives every completion a label.

  Args:
    items: completions of one form.
    rule: "given" takes the labels as logged, or from pairs what won more
      than half; "global_mean" and "prompt_mean" compare rewards with a mean;
      None = "given" where there are labels or pairs, else "global_mean".
    paired: whether the completions come from pairs.
    threshold: in place of the mean for "global_mean".
    notes: what is done is noted here.

  Returns:
    The completions, and the threshold of "global_mean" if that was the rule.

  Raises:
    UserError: where the rule does not fit the data.
  """
  has_labels = paired or items[0].label is not None
  if rule is None:
    rule = "given" if has_labels else "global_mean"
  if rule == "given":
    if not has_labels:
      raise UserError(
        f"{option('label_rule', repr('given'))}, but the data has no labels "
        "and no pairs; use 'global_mean' or 'prompt_mean' to make labels from "
        "rewards"
      )
    if threshold is not None:
      raise UserError(
        f"{option('label_threshold')} is set, but the labels are given; leave "
        "it out"
      )
    return _given(items, paired, notes), None
  rated = [item for item in items if item.reward is not None]
  if not rated:
    raise UserError(
      f"{option('label_rule', repr(rule))} needs rewards, and the data has "
      "labels alone; "
      "leave it out to use those"
      if has_labels
      else f"this loss needs labels, and {feedback.NO_FEEDBACK}"
    )
  if rule == "prompt_mean":
    if threshold is not None:
      raise UserError(
        f"{option('label_threshold')} is set, but "
        f"{option('label_rule', repr('prompt_mean'))} has no use for "
        "it; leave one of them out"
      )
    return _above_prompt_mean(rated, notes), None
  return _above_threshold(rated, threshold, notes)


def _above_threshold(
  items: list[Scored], threshold: float | None, notes: Notes
) -> tuple[list[Scored], float]:
  used = "the given threshold"
  if threshold is None:
    used = "the mean of the data"
    threshold = feedback.mean([item.value for item in items])
  labelled = [
    dataclasses.replace(item, label=item.value > threshold) for item in items
  ]
  rule = f"made from rewards: reward > {threshold:.6g} ({used})"
  _note_labels(rule, labelled, notes)
  return labelled, threshold


def _given(items: list[Scored], paired: bool, notes: Notes) -> list[Scored]:
  if not paired:
    _note_labels("as given", items, notes)
    return items
  decided = [item for item in items if item.label is not None]
  _note_labels("made from pairs: true = won more than half", decided, notes)
  undecided = len(items) - len(decided)
  if undecided:
    notes.add(
      f"{count(undecided, 'completion')} left out: won exactly half of its "
      "pairs, or was in none",
      completions_undecided=undecided,
    )
  return decided


def _above_prompt_mean(items: list[Scored], notes: Notes) -> list[Scored]:
  rewards: dict[Prompt, list[float]] = collections.defaultdict(list)
  for item in items:
    rewards[item.prompt].append(item.value)
  means = {prompt: feedback.mean(values) for prompt, values in rewards.items()}
  labelled = [
    dataclasses.replace(item, label=item.value > means[item.prompt])
    for item in items
  ]
  _note_labels("made from rewards: reward > prompt's mean", labelled, notes)
  flat = sum(len(set(values)) == 1 for values in rewards.values())
  if flat:
    notes.add(
      f"{count(flat, 'prompt')} with no two different rewards: all of their "
      "completions are labelled false",
      flat_prompts=flat,
    )
  return labelled


def _note_labels(rule: str, labelled: list[Scored], notes: Notes) -> None:
  desirable = sum(bool(item.label) for item in labelled)
  notes.add(
    f"labels {rule}: {desirable:,} true, {len(labelled) - desirable:,} false",
    labels_true=desirable,
    labels_false=len(labelled) - desirable,
  )
