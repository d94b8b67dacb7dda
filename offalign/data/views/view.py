"""Views of a table: the rows that a loss of a given kind and needs takes.

One table serves every loss: rewards become labels, labels rewards, groups
pairs, pairs single completions. A view says in sentences what it did, and
its counts account for every completion.
"""

import dataclasses
from collections.abc import Sequence

from offalign.data.reading.records import Record, count
from offalign.data.views import (
  demonstrations,
  feedback,
  labels,
  margins,
  parts,
  rewards,
)
from offalign.data.views.every_turn import every_turn
from offalign.data.views.feedback import Notes, Scored
from offalign.data.views.options import DEFAULTS, ViewOptions
from offalign.data.views.pairs import given_pairs, made_pairs
from offalign.data.views.rows import (
  Needs,
  Row,
  check_feedback,
  make_groups,
  row_of,
)
from offalign.errors import Sentence, UserError
from offalign.types import Kind

UNUSED = {
  "sides_merged": "repeated in another pair",
  "completions_unused": "in no pair",
  "completions_uncompared": "compared with nothing else",
  "completions_undecided": "undecided",
  "completions_left_out": "of prompts with too few",
  "completions_left_over": "left over",
  "completions_not_best": "not the best",
  "completions_below_top": "below the top",
  "completions_unrated": "without a rated span",
}
"""Count of completions that are in no row of a view -> why."""


@dataclasses.dataclass(frozen=True)
class ViewSummary:
  """What a view did; `str` joins the sentences.

  Attributes:
    counts: name -> number.
    sentences: the same for people.
    threshold: the reward above which a completion was labelled True, where
      one threshold was used for all; to be stored, and given to the views of
      held-out data.
  """

  counts: dict[str, int]
  sentences: tuple[str, ...]
  threshold: float | None = None

  def __str__(self) -> str:
    return "\n".join(self.sentences)

  @property
  def unused(self) -> dict[str, int]:
    """Reason -> how many completions are in no row for it.

    With `counts["completions_used"]` they add up to `counts["completions"]`,
    which is all that the data has: none is lost.
    """
    return {name: self.counts[name] for name in UNUSED if name in self.counts}


@dataclasses.dataclass(frozen=True)
class View:
  """Rows with the same K, for losses of one kind.

  Attributes:
    kind: what the K completions are to a loss.
    rows: at least one.
    summary: how they were made.
  """

  kind: Kind
  rows: tuple[Row, ...]
  summary: ViewSummary


_LOG_THEM = "log them, or, if the loss has that option, use behaviour=reference"


def view(
  records: Sequence[Record],
  kind: Kind,
  needs: Sequence[str] = (),
  options: ViewOptions = DEFAULTS,
  *,
  seed: int = 0,
) -> View:
  """Makes the rows that a loss takes: `view(records, loss.kind, loss.needs)`.

  Args:
    records: of one form.
    kind: SINGLE makes a row of every completion (K = 1); PAIR a row of every
      pair (K = 2); GROUP rows of `options.group_size` completions of a prompt.
    needs: columns the loss reads; only those of rewards and labels matter.
    options: how the rows are made, where the data leaves a choice.
    seed: of what is drawn, and of choices among equals. All of it depends on
      the texts, not on the order of the data.

  Raises:
    UserError: where the data lacks what the loss needs, an option is unknown
      or does not apply, or no row is left.
  """
  if not records:
    raise UserError("there are no records to make a view of")
  _check_uniform(records)
  wants = Needs.of(needs)
  notes = Notes()
  records = parts.each_turn(records, notes)
  records = parts.each_span(records, kind, wants, notes)
  if wants.behaviour_token_logps and records[0].logprobs is None:
    raise UserError(
      "this loss needs the log-prob of each token under the policy that wrote "
      "the completions, and the data has no columns 'completion_ids' and "
      "'logprobs', which generate --tokens and serving engines write; "
      f"{_LOG_THEM}"
    )
  if wants.behaviour_logps and records[0].behaviour_logps is None:
    raise UserError(
      "this loss needs the log-probs under the policy that wrote the "
      "completions, and the data has no column 'behaviour_logps' (sums of "
      "token log-probs, in nats) and no 'logprobs' beside 'completion_ids' "
      "(those of each token); "
      f"{_LOG_THEM}"
    )
  options.check(kind, wants, margins.typical(records))
  rows, threshold = _make_rows(records, kind, wants, options, notes, seed)
  _note_unread_margins(records, kind, wants, options, notes)
  parts.note_unread(records, wants, notes)
  if not rows:
    done = "; ".join(notes.sentences)
    raise UserError(f"no row is left for this loss: {done}")
  _note_rows(kind, rows, notes)
  _note_use(records, rows, notes)
  summary = ViewSummary(
    notes.counts, tuple(map(Sentence, notes.sentences)), threshold
  )
  return View(kind, tuple(rows), summary)


def _make_rows(
  records: Sequence[Record],
  kind: Kind,
  wants: Needs,
  options: ViewOptions,
  notes: Notes,
  seed: int,
) -> tuple[list[Row], float | None]:
  """The rows, and the threshold of the labels if there was one."""
  if kind is Kind.PAIR:
    margin = options.min_margin
    if records[0].ranked:
      return given_pairs(records, wants, notes, margin), None
    rule = options.pairs or "all"
    rows = made_pairs(records, rule, wants, notes, min_margin=margin, seed=seed)
    return rows, None
  if kind is Kind.GROUP:
    check_feedback(records, "groups")
  items, threshold = _rated(records, wants, options, notes, seed)
  if options.train_on == "all":
    items = every_turn(items, notes)
  if kind is Kind.SINGLE:
    return [row_of((item,)) for item in items], threshold
  return make_groups(items, options.group_size, notes), threshold


def _check_uniform(records: Sequence[Record]) -> None:
  def form(record: Record) -> tuple[bool, ...]:
    return (
      record.ranked,
      record.rewards is None,
      record.labels is None,
      record.behaviour_logps is None,
      record.ids is None,
      record.marks is None,
    )

  for record in records:
    if form(record) != form(records[0]):
      raise UserError(
        f"{record.source} has other feedback than {records[0].source}; a view "
        "takes records of one form"
      )


def _rated(
  records: Sequence[Record],
  wants: Needs,
  options: ViewOptions,
  notes: Notes,
  seed: int,
) -> tuple[list[Scored], float | None]:
  """Every completion, with just the feedback that is logged or needed."""
  first = records[0]
  logged = first.rewards is not None
  items = feedback.flatten(records, notes)
  from_wins = first.ranked and not logged
  by_mean = wants.labels and options.label_rule in (
    "global_mean",
    "prompt_mean",
  )
  if wants.rewards or options.selects or (from_wins and by_mean):
    items = rewards.with_rewards(items, share_of_wins=from_wins, notes=notes)
  used = None
  if options.best_of_n is not None:
    items = demonstrations.best_of_n(items, options.best_of_n, seed, notes)
  if options.top_fraction is not None and items:
    fraction = options.top_fraction
    items = demonstrations.top_fraction(items, fraction, seed, notes)
  if wants.labels and items:
    items, used = labels.with_labels(
      items,
      options.label_rule,
      paired=first.ranked,
      threshold=options.label_threshold,
      notes=notes,
    )
  has_feedback = first.ranked or logged or first.labels is not None
  read = wants.rewards or wants.labels or options.selects
  if has_feedback and not read:
    alike = "chosen and rejected" if first.ranked else "good and bad"
    notes.add(
      f"this loss reads no feedback: it treats {alike} completions alike"
    )
  keep_reward = logged or wants.rewards
  keep_label = wants.labels or first.labels is not None
  return [
    dataclasses.replace(
      item,
      reward=item.reward if keep_reward else None,
      label=item.label if keep_label else None,
      behaviour_logp=item.behaviour_logp if wants.behaviour_logps else None,
      marks=item.marks if wants.marks else None,
    )
    for item in items
  ], used


def _note_unread_margins(
  records: Sequence[Record],
  kind: Kind,
  wants: Needs,
  options: ViewOptions,
  notes: Notes,
) -> None:
  if all(record.margin is None for record in records):
    return
  read = wants.rewards or wants.margins or options.min_margin is not None
  if kind is not Kind.PAIR or not read:
    notes.add(
      "the margins of the pairs (column 'margin') are not read by this loss; "
      "bradley_terry(margin=1.0) and rebel read them"
    )


def _note_rows(kind: Kind, rows: Sequence[Row], notes: Notes) -> None:
  prompts = len({row.prompt for row in rows})
  noun = {
    Kind.SINGLE: "completion",
    Kind.PAIR: "pair",
    Kind.GROUP: "group",
  }[kind]
  notes.add(
    f"{count(len(rows), noun)} from {count(prompts, 'prompt')}",
    rows=len(rows),
    prompts=prompts,
  )
  if rows[0].labels is not None and kind is not Kind.PAIR:
    values = {label for row in rows for label in row.labels or ()}
    if len(values) == 1:
      notes.add(f"note: every label is {str(values.pop()).lower()}")


def _note_use(
  records: Sequence[Record], rows: Sequence[Row], notes: Notes
) -> None:
  """Notes how many completions are in rows, and how many are not."""
  given = sum(len(record.completions) for record in records)
  used = len({source for row in rows for source in row.sources})
  given += notes.counts.get("completions_unrated", 0)
  notes.counts |= {"completions": given, "completions_used": used}
  unused = [
    f"{notes.counts[name]:,} {why}"
    for name, why in UNUSED.items()
    if notes.counts.get(name)
  ]
  if unused:
    notes.add(
      f"{used:,} of {count(given, 'completion')} used; {', '.join(unused)}"
    )
