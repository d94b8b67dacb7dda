"""Ratings of several turns of a conversation, each in its own message."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from offalign.data.reading import parsing
from offalign.data.reading.faults import Fault, describe
from offalign.data.reading.records import Message, Record

Key = Literal["reward", "label"]
KEYS: tuple[Key, ...] = ("reward", "label")
"""Keys of an assistant's message that rate it."""


def key_of(cells: Iterable[Any]) -> Key | None:
  """Which key rates turns in some conversations; None where none does.

  A reward that is a number rates, and a label that is true or false, or 1 or 0;
  texts under these keys are other data.

  Args:
    cells: of the column of messages.
  """
  found = {
    key
    for cell in cells
    for item in (cell if isinstance(cell, list) else ())
    for key in KEYS
    if _rated(item, key) and _rates(item[key], key)
  }
  return next((key for key in KEYS if key in found), None)


def is_rated(cell: Any, key: Key) -> bool:
  """Whether a turn of a conversation has a rating, or what should be one."""
  turns = cell if isinstance(cell, list) else ()
  return any(_rated(i, key) for i in turns) or key_of([cell]) is not None


def _rated(item: Any, key: str) -> bool:
  return (
    isinstance(item, Mapping)
    and item.get("role") == "assistant"
    and item.get(key) is not None
  )


def _rates(value: Any, key: Key) -> bool:
  if isinstance(value, bool):
    return key == "label"
  if key == "label":
    return isinstance(value, int) and value in (0, 1)
  return isinstance(value, int | float)


def read(
  value: Any, key: Key, int_labels: bool
) -> tuple[tuple[Message, ...], tuple[tuple[int, Any], ...]] | None:
  """A conversation up to its last rated turn, and the rated turns.

  Args:
    value: the cell.
    key: of the messages' ratings.
    int_labels: take the numbers 0 and 1 for labels.

  Returns:
    Messages, and (which of them, its rating); None where no turn is rated.

  Raises:
    Fault: for messages that are none, or a rating that is none.
  """
  if not isinstance(value, list):
    raise Fault(f"{describe(value)} where messages belong")
  ratings: list[tuple[int, Any]] = []
  for i, item in enumerate(value):
    for other in KEYS:
      if _rated(item, key) or not _rated(item, other):
        continue
      if _rates(item[other], other):
        raise Fault(
          f"message {i} has a {other!r}, and other messages have a {key!r}; "
          "rate all turns in one way"
        )
    if _rated(item, key):
      try:
        ratings.append((i, _value(item[key], key, int_labels)))
      except Fault as fault:
        raise Fault(f"message {i}, {key!r}: {fault}") from None
  if not ratings:
    return None
  last = ratings[-1][0] + 1
  messages = parsing.whole_conversation_or_text(value[:last])
  assert not isinstance(messages, str)
  left_out = 0
  found = []
  rated = dict(ratings)
  for i, item in enumerate(value[:last]):
    if parsing.is_silent(item):
      left_out += 1
    if i in rated:
      if i == left_out:
        raise Fault(f"message {i} is rated, and nothing comes before it")
      found.append((i - left_out, rated[i]))
  return messages, tuple(found)


def _value(value: Any, key: Key, int_labels: bool) -> Any:
  if key == "label":
    return parsing.label(value, int_labels)
  return parsing.reward(value)


def each(record: Record) -> list[Record]:
  """The rated turns of a record, each as a record; itself where it has one."""
  if not record.turns:
    return [record]
  assert not isinstance(record.prompt, str)
  last = dataclasses.replace(record, turns=())
  found = []
  for k, (i, value) in enumerate(record.turns):
    turn = dataclasses.replace(
      last,
      prompt=record.prompt[:i],
      completions=(record.prompt[i].content,),
      rewards=None if record.rewards is None else (value,),
      labels=None if record.labels is None else (value,),
      source=f"{record.source}[{k}]",
    )
    found.append(turn)
  source = f"{record.source}[{len(found)}]"
  return [*found, dataclasses.replace(last, source=source)]
