"""Rated parts of conversations and completions, as rows of their own."""

import dataclasses
from collections.abc import Sequence

from offalign.data.reading import rated_turns
from offalign.data.reading.marks import Marks
from offalign.data.reading.records import Record, count
from offalign.data.views.feedback import Notes
from offalign.data.views.rows import Needs
from offalign.errors import UserError
from offalign.types import Kind


def each_turn(records: Sequence[Record], notes: Notes) -> Sequence[Record]:
  """Parts conversations whose turns were rated: each rated turn is a record.

  Its prompt is what comes before it, so a chat template writes it as it did
  when the model was asked.

  Args:
    records: of one form.
    notes: what is done is noted here.
  """
  earlier = sum(len(record.turns) for record in records)
  if not earlier:
    return records
  found = []
  for record in records:
    found += rated_turns.each(record)
  notes.add(
    f"each rated turn a row whose prompt is what comes before it: "
    f"{count(len(found), 'turn')} of {count(len(records), 'conversation')}",
    turns=len(found),
  )
  return found


def each_span(
  records: Sequence[Record], kind: Kind, wants: Needs, notes: Notes
) -> Sequence[Record]:
  """Makes records of rated spans for losses that weigh tokens.

  Such a record has the reward of the span and weighs its tokens alone. Where
  completions have feedback of their own, that is read, and the records stay
  as they are.

  Args:
    records: of one form.
    kind: of the loss.
    wants: what the loss reads.
    notes: what is done is noted here.

  Raises:
    UserError: where the loss reads of parts what the data does not say.
  """
  found = [mark for record in records for mark in record.marks or ()]
  weights = any(mark.has_weights for mark in found)
  ratings = any(mark.has_ratings for mark in found)
  first = records[0]
  alone = first.rewards is None and first.labels is None and not first.ranked
  reads = wants.rewards or wants.labels
  if wants.token_rewards and not ratings:
    raise UserError(
      "this loss needs rewards of tokens, and no completion has any: give "
      "spans with a 'reward', steps, or 'token_rewards' beside "
      "'completion_ids'"
    )
  spans = ratings and any(s.rated for mark in found for s in mark.spans)
  if reads and alone and spans:
    if not (wants.token_weights and kind is Kind.SINGLE):
      raise UserError(
        "this loss reads feedback on whole completions, and the data rates "
        "parts of them; weighted_dro_v trains on rated spans and steps"
      )
    return _spans(records, notes)
  if wants.token_weights and not weights:
    more = ""
    if spans:
      more = "; those that it has are rated, and have no weight"
      if not alone:
        more += (
          ", and completions have feedback of their own: take that out to "
          "train on the ratings of spans"
        )
    raise UserError(
      "this loss needs weights of tokens, and no completion has any: give "
      "spans of characters with a 'weight', or 'token_weights' beside "
      f"'completion_ids'{more}"
    )
  return records


def _spans(records: Sequence[Record], notes: Notes) -> list[Record]:
  """A record of each rated span, with its rating."""
  made, without = [], 0
  labelled = all(
    span.label is not None
    for record in records
    for mark in record.marks or ()
    for span in mark.spans
    if span.rated
  )
  for record in records:
    (mark,) = record.marks or (Marks(),)
    rated = [span for span in mark.spans if span.rated]
    without += not rated
    for k, span in enumerate(rated):
      weight = 1.0 if span.weight is None else span.weight
      alone = span._replace(weight=weight)
      made.append(
        dataclasses.replace(
          record,
          rewards=None if labelled else (span.value,),
          labels=(bool(span.label),) if labelled else None,
          marks=(Marks((alone,), outside=0.0),),
          source=f"{record.source}[{k}]",
        )
      )
  notes.add(
    f"each rated span a row with its own rating, in which its tokens alone "
    f"count: {count(len(made), 'span')} of "
    f"{count(len(records) - without, 'completion')}",
    spans=len(made),
  )
  if without:
    notes.add(
      f"{count(without, 'completion')} left out: without a rated span",
      completions_unrated=without,
    )
  return made


def note_unread(records: Sequence[Record], wants: Needs, notes: Notes) -> None:
  """Notes what is known of parts and not read by the loss."""
  found = [mark for record in records for mark in record.marks or ()]
  weights = any(mark.has_weights for mark in found)
  ratings = any(mark.has_ratings for mark in found)
  if weights and not wants.token_weights:
    notes.add(
      "the weights of tokens and spans are not read by this loss; weighted_dpo "
      "and weighted_dro_v read them"
    )
  rows = any(mark.outside == 0 for mark in found)
  if ratings and not wants.token_rewards and not rows:
    notes.add(
      "the ratings of tokens, spans and steps are not read by this loss; "
      "weighted_dro_v reads those of spans and steps where completions have no "
      "feedback of their own"
    )
