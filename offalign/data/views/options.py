"""The options of a view, and which of them apply to what."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from offalign.data.reading.records import Record
from offalign.data.views.labels import LABEL_RULES, LabelRule
from offalign.data.views.pairs import PairRule
from offalign.data.views.rows import Needs
from offalign.errors import UserError, option, suggest
from offalign.types import Kind


@dataclasses.dataclass(frozen=True)
class ViewOptions:
  """What a view makes of the data: pairs, labels, groups, the best alone.

  An option that is None chooses its default where it applies. One that is
  set and does not apply is an error.

  Of the rules for pairs, "all" takes any two completions of a prompt,
  "best_worst" makes one pair a prompt, and "best_random" takes the best with
  another, drawn by the seed. "adjacent" takes the first with the second, the
  third with the fourth, ... in the order of the data, so that no completion
  is used twice; "random" does so in an order drawn by the seed. The rules for
  labels are those of `labels.with_labels`. Held-out data takes as
  `label_threshold` the `summary.threshold` of the training data's view.
  `group_size` is by default the most common number of completions of a
  prompt, the larger of two equally common.

  Attributes:
    pairs: how scored completions of a prompt are paired, for losses on
      pairs; default all.
    min_margin: least difference between the rewards of a pair, or least
      margin, for losses on pairs; closer pairs are dropped and counted.
    label_rule: how rewards become labels, for losses that need labels;
      default given where labels or pairs are logged, else global_mean.
    label_threshold: the reward above which a completion is labelled true, in
      place of the mean of the data.
    group_size: completions a prompt (K) for losses on groups.
    best_of_n: train on the best of n completions of each prompt, drawn by
      the seed; 0 = the best of all its completions. For losses that read no
      feedback.
    top_fraction: train on this share of the completions, those with the
      highest rewards. For losses that read no feedback.
    train_on: which turns of the assistant in a conversation are trained on,
      the "last" (default) or "all"; "all" makes a row of each, for losses
      and data without feedback.
  """

  pairs: PairRule | None = None
  min_margin: float | None = None
  label_rule: LabelRule | None = None
  label_threshold: float | None = None
  group_size: int | None = None
  best_of_n: int | None = None
  top_fraction: float | None = None
  train_on: Literal["last", "all"] | None = None

  @property
  def selects(self) -> bool:
    """Whether only the best completions are to be imitated."""
    return self.best_of_n is not None or self.top_fraction is not None

  def check(self, kind: Kind, wants: Needs, first: Record) -> None:
    """Checks the options: refuses unknown values, and what nothing reads.

    Raises:
      UserError: naming the option.
    """
    self._check_values()
    reason = None
    if kind is not Kind.PAIR:
      reason = "this loss does not take pairs"
    elif first.ranked:
      reason = "the data has pairs already"
    _refuse("pairs", self.pairs, reason)
    reason = None
    if kind is not Kind.PAIR:
      reason = "this loss does not take pairs"
    elif first.rewards is None and first.margin is None:
      reason = "the data has no rewards"
    _refuse("min_margin", self.min_margin, reason)
    reason = None
    if kind is Kind.PAIR or not wants.labels:
      reason = "this loss does not read labels of completions"
    _refuse("label_rule", self.label_rule, reason)
    _refuse("label_threshold", self.label_threshold, reason)
    reason = None if kind is Kind.GROUP else "this loss does not take groups"
    _refuse("group_size", self.group_size, reason)
    reason = None
    if kind is not Kind.SINGLE or wants.rewards or wants.labels:
      reason = "this loss does more than imitate completions"
    elif not _has_feedback(first):
      reason = "the data says nothing about which completions are better"
    _refuse("best_of_n", self.best_of_n, reason)
    _refuse("top_fraction", self.top_fraction, reason)
    if self.train_on == "all":
      _refuse_all(kind, wants, first)

  def _check_values(self) -> None:
    for name, value, valid in (
      ("pairs", self.pairs, get_args(PairRule)),
      ("label_rule", self.label_rule, LABEL_RULES),
      ("train_on", self.train_on, ("last", "all")),
    ):
      if value is not None and value not in valid:
        raise UserError(
          f"{option(name, repr(value))} is none of {', '.join(valid)}"
          f"{suggest(value, valid)}"
        )
    if self.min_margin is not None and not 0 < self.min_margin < float("inf"):
      raise UserError(
        f"{option('min_margin')} must be a number above 0, not "
        f"{self.min_margin}"
      )
    if self.group_size is not None and self.group_size < 2:
      raise UserError(
        f"{option('group_size')} must be at least 2, not {self.group_size}"
      )
    n, fraction = self.best_of_n, self.top_fraction
    if n is not None and n != 0 and n < 2:
      raise UserError(f"{option('best_of_n')} must be 0 or at least 2, not {n}")
    if fraction is not None and not 0 < fraction < 1:
      raise UserError(
        f"{option('top_fraction')} must be between 0 and 1, both excluded, not "
        f"{fraction}"
      )
    if n is not None and fraction is not None:
      raise UserError(
        f"{option('best_of_n')} is set and {option('top_fraction')} is set; "
        "give one"
      )


DEFAULTS = ViewOptions()
"""No option set."""


def _refuse(name: str, value: object, reason: str | None) -> None:
  if value is not None and reason:
    raise UserError(f"{option(name)} is set, but {reason}; leave it out")


def _refuse_all(kind: Kind, wants: Needs, first: Record) -> None:
  """Refuses to train on all turns where feedback is of the last one."""
  reason = None
  if kind is not Kind.SINGLE or wants.rewards or wants.labels:
    reason = (
      "this loss reads feedback, which is of a conversation's last turn; "
      "imitate all turns first (sft), then train on the feedback"
    )
  elif _has_feedback(first):
    reason = (
      "the data has feedback, which is of a conversation's last turn; use "
      "data without it, whose turns are all worth imitating"
    )
  elif isinstance(first.prompt, str):
    reason = "the data holds plain text, not conversations"
  if reason:
    raise UserError(
      f"{option('train_on', 'all')}, but {reason}, or leave it out"
    )


def for_each(
  options: ViewOptions, trained: Sequence[Record], held: Sequence[Record] = ()
) -> list[ViewOptions]:
  """Options for each of several tables that one loss reads.

  An option is left out for a table whose form it cannot apply to, but only
  where it applies to another that is trained on: one that nothing reads
  stays, and is refused.

  Args:
    options: as given.
    trained: a record of each table to train on.
    held: a record of each other table.

  Returns:
    The options of the tables to train on, then of the others.
  """
  firsts = (*trained, *held)
  out = [options] * len(firsts)
  for field in dataclasses.fields(ViewOptions):
    applies = [_applies(field.name, options, first) for first in firsts]
    if any(applies[: len(trained)]):
      out = [
        each if here else dataclasses.replace(each, **{field.name: None})
        for each, here in zip(out, applies, strict=True)
      ]
  return out


def _applies(name: str, options: ViewOptions, first: Record) -> bool:
  scored = first.rewards is not None
  if name == "min_margin":
    return scored or first.margin is not None
  rule = options.label_rule
  if name == "pairs":
    return not first.ranked
  if name == "label_rule":
    return first.ranked or scored
  if name == "label_threshold":
    if rule is None:
      return not first.ranked and first.labels is None
    return first.ranked or scored
  if name in ("best_of_n", "top_fraction"):
    return _has_feedback(first)
  if name == "train_on":
    return not _has_feedback(first) and not isinstance(first.prompt, str)
  return True


def _has_feedback(first: Record) -> bool:
  known = first.rewards is not None or first.labels is not None
  return first.ranked or known
