"""Write records as rows that `load` reads back: the inverse of the forms."""

import json
from typing import Any

from offalign.data.reading import marks, rated_turns
from offalign.data.reading.logged_tokens import (
  IDS,
  LOGPROBS,
  PAIR_IDS,
  PAIR_LOGPROBS,
)
from offalign.data.reading.records import TOOLS, Message, Prompt, Record
from offalign.data.reading.token_text import TokenText
from offalign.data.reading.whole_message import WholeMessage


def rows_of(record: Record) -> list[dict[str, Any]]:
  """The rows of a record: one of a pair, else one for each completion.

  >>> rows_of(Record("Hi", ("Hello",), (1.0,), None, False, "log.jsonl:0"))
  [{'prompt': 'Hi', 'completion': 'Hello', 'reward': 1.0}]

  Args:
    record: of any form. A group becomes single rows, since they are read by
      all that reads completions. Of a prompt alone, which has no completion,
    it is a row too.
  """
  about, prompt = _prompt(record.prompt)
  if not record.completions:
    return [about]
  if record.ranked:
    row = {**about, **_pair(record, talks=prompt is not None)}
    return [row]
  if record.turns:
    return [row for turn in rated_turns.each(record) for row in rows_of(turn)]
  rows = []
  for i, completion in enumerate(record.completions):
    row = {**about, "completion": _reply(completion, prompt is not None)}
    for name, values in (
      ("reward", record.rewards),
      ("label", record.labels),
      ("behaviour_logps", record.behaviour_logps),
    ):
      if values is not None:
        row[name] = values[i]
    row |= _tokens(completion, IDS, LOGPROBS)
    row |= _marks(record, i, marks.SINGLE)
    rows.append(row)
  return rows


def _pair(record: Record, *, talks: bool) -> dict[str, Any]:
  chosen, rejected = record.completions
  row: dict[str, Any] = {
    "chosen": _reply(chosen, talks),
    "rejected": _reply(rejected, talks),
  }
  if record.rewards is not None:
    row["chosen_reward"], row["rejected_reward"] = record.rewards
  if record.margin is not None:
    row["margin"] = record.margin
  names = zip(record.completions, PAIR_IDS, PAIR_LOGPROBS, strict=True)
  for completion, ids, logprobs in names:
    row |= _tokens(completion, ids, logprobs)
  for i, columns in enumerate(marks.PAIR):
    row |= _marks(record, i, columns)
  return row


def _marks(record: Record, i: int, columns: tuple[str, ...]) -> dict[str, Any]:
  """The columns of what is known of a completion's parts."""
  if record.marks is None:
    return {}
  mark = record.marks[i]
  spans = [
    {k: v for k, v in span._asdict().items() if v is not None}
    for span in mark.spans
  ]
  if mark.weights is None and mark.rewards is None:
    return {columns[0]: spans}
  lists = zip(columns[1:], (mark.weights, mark.rewards), strict=True)
  return {name: list(held) for name, held in lists if held is not None}


def _tokens(completion: str, ids: str, logprobs: str) -> dict[str, Any]:
  """The columns of a completion's tokens, where they were logged."""
  if not isinstance(completion, TokenText):
    return {}
  row: dict[str, Any] = {ids: completion.ids.tolist()}
  if completion.logps is not None:
    row[logprobs] = completion.logps.tolist()
  return row


def _prompt(prompt: Prompt) -> tuple[dict[str, Any], list[Any] | None]:
  """The columns of a prompt, and its turns where it is a conversation."""
  if isinstance(prompt, str):
    return {"prompt": prompt}, None
  tools = [json.loads(m.content) for m in prompt if m.role == TOOLS]
  turns = [_turn(message) for message in prompt if message.role != TOOLS]
  return {"prompt": turns, **({"tools": tools[0]} if tools else {})}, turns


def _turn(message: Message) -> dict[str, Any]:
  content = message.content
  if isinstance(content, WholeMessage):
    return {"role": message.role, **content.parts}
  return {"role": message.role, "content": content}


def _reply(completion: str, talks: bool) -> Any:
  if isinstance(completion, TokenText):
    completion = completion.text
  return [_turn(Message("assistant", completion))] if talks else completion
