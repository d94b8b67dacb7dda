"""Cells of spans, of steps, and of numbers by token, or a `Fault`."""

import itertools
from typing import Any

from offalign.data.reading import parsing
from offalign.data.reading.faults import Fault, describe, is_empty, text
from offalign.data.reading.marks import WEIGHTS, Marks, Span, content_of
from offalign.data.reading.records import quote
from offalign.data.reading.token_text import TokenText

_NUMBERS = ("reward", "rating", "score")
_LABEL, _WEIGHT = "label", "weight"


def spans(value: Any, completion: str, int_labels: bool) -> tuple[Span, ...]:
  """A cell of spans: a list of objects of start, end, and weight or reward.

  Args:
    value: the cell.
    completion: that the spans are of.
    int_labels: take the numbers 0 and 1 for labels.

  Raises:
    Fault: for one that is none, or out of the text, or on another.
  """
  if not isinstance(value, list):
    raise Fault(f"{describe(value)} where a list of spans belongs")
  whole = content_of(completion)
  found = []
  for i, item in enumerate(value):
    try:
      found.append(_span(item, whole, int_labels))
    except Fault as fault:
      raise Fault(f"span {i}: {fault}") from None
  order = sorted(range(len(found)), key=lambda i: found[i][:2])
  for i, j in itertools.pairwise(order):
    if found[j].start < found[i].end:
      raise Fault(
        f"spans {min(i, j)} and {max(i, j)} overlap, at character "
        f"{found[j].start}; a character is in one span at most"
      )
  return tuple(found[i] for i in order)


def _span(item: Any, whole: str, int_labels: bool) -> Span:
  if not isinstance(item, dict):
    raise Fault(f"{describe(item)}, not an object of start, end and reward")
  start, end = (_place(item, key) for key in ("start", "end"))
  if not 0 <= start < end <= len(whole):
    what = "is empty" if start == end else "is not in the completion"
    raise Fault(
      f"from {start} to {end} {what}, which has {len(whole):,} characters "
      "(the first is 0, and the end is the place behind the last)"
    )
  said = item.get("text")
  if isinstance(said, str) and said != whole[start:end]:
    raise Fault(
      f"its text is {quote(said)}, but characters {start} to {end} are "
      f"{quote(whole[start:end])}; offsets count characters, not bytes"
    )
  weight, reward, label = _said(item, int_labels)
  if weight is None and reward is None and label is None:
    raise Fault(
      "says neither how much it counts ('weight') nor how good it is "
      "('reward' or 'label')"
    )
  return Span(start, end, weight, reward, label)


def _place(item: dict[str, Any], key: str) -> int:
  value = item.get(key)
  if key not in item:
    raise Fault(f"no {key!r}")
  whole = isinstance(value, float) and value.is_integer()
  if isinstance(value, bool) or not (isinstance(value, int) or whole):
    raise Fault(f"{key!r}: {describe(value)} where a whole number belongs")
  return int(value)  # type: ignore[arg-type]


def _said(
  item: dict[str, Any], int_labels: bool
) -> tuple[float | None, float | None, bool | None]:
  """The weight, reward and label of a span or a step, each or None."""
  given = [k for k in (*_NUMBERS, _LABEL) if item.get(k) is not None]
  if len(given) > 1:
    raise Fault(f"both {given[0]!r} and {given[1]!r}; keep one")
  try:
    key = _WEIGHT
    held = item.get(key)
    weight = None if held is None else _weight(held)
    for key in given:
      if key == _LABEL:
        return weight, None, parsing.label(item[key], int_labels)
      return weight, parsing.number(item[key]), None
  except Fault as fault:
    raise Fault(f"{key!r}: {fault}") from None
  return weight, None, None


def _weight(value: Any) -> float:
  weight = parsing.number(value)
  if weight < 0:
    raise Fault(f"{weight:g} is below 0, which no weight is")
  return weight


def by_token(value: Any, column: str, completion: str) -> tuple[float, ...]:
  """A cell of weights or rewards, one for each token id of the completion.

  Args:
    value: the cell.
    column: its name; weights are 0 or more.
    completion: with its ids.

  Raises:
    Fault: naming the item that is none, or both lengths.
  """
  weights = column.endswith(WEIGHTS)
  found = parsing.each(value, _weight if weights else parsing.number)
  if isinstance(completion, TokenText) and len(found) != len(completion.ids):
    noun = "weights" if weights else "rewards"
    raise Fault(f"{len(found):,} {noun} for {len(completion.ids):,} token ids")
  return found


def steps(value: Any, int_labels: bool) -> tuple[str, Marks]:
  """A completion given as steps: its text, and a span for each rated step.

  Args:
    value: a list of objects of text and reward or label; steps that nobody
      rated have none.
    int_labels: take the numbers 0 and 1 for labels.
  """

  def step(item: Any) -> tuple[str, Any]:
    if not isinstance(item, dict):
      raise Fault(f"{describe(item)}, not an object of text and reward")
    if item.get("text") is None:
      raise Fault("no 'text'")
    return text(item["text"]), _said(item, int_labels)

  return _joined(parsing.each(value, step))


def stepwise(texts: Any, labels: Any, int_labels: bool) -> tuple[str, Marks]:
  """TRL's stepwise rows: texts of steps, and a label of each."""
  said = parsing.each(labels, lambda item: parsing.label(item, int_labels))
  read = parsing.each(texts, text)
  if len(said) != len(read):
    raise Fault(f"{len(said)} labels for {len(read)} steps")
  return _joined(
    [(t, (None, None, s)) for t, s in zip(read, said, strict=True)]
  )


def _joined(each: Any) -> tuple[str, Marks]:
  """Steps as one text: a newline between two, unless white space is there."""
  whole, found = "", []
  for i, (said, (weight, reward, label)) in enumerate(each):
    if not said.strip():
      raise Fault(f"item {i}: a step without text")
    if whole and not whole[-1].isspace() and not said[0].isspace():
      whole += "\n"
    start = len(whole)
    whole += said
    if (weight, reward, label) != (None, None, None):
      found.append(Span(start, len(whole), weight, reward, label))
  return whole, Marks(tuple(found))


def look_like_spans(value: Any) -> bool | None:
  """Whether a cell may hold spans, of one completion or several; None: empty.

  Named entities have a label too, which is a text.
  """
  while isinstance(value, list) and value and isinstance(value[0], list):
    value = next((item for item in value if item), [])
  if is_empty(value):
    return None
  first = value[0] if isinstance(value, list) else None
  if not isinstance(first, dict):
    return False
  said = any(first.get(k) is not None for k in (*_NUMBERS, _WEIGHT))
  return said or isinstance(first.get(_LABEL), bool | int)
