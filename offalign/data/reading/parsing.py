"""Cells of a row -> text, conversations, numbers and labels, or a `Fault`.

Above 300 lines, since messages are read by the rules for text, and refused in
the same words.
"""

import decimal
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from offalign.data.reading import aspects, message_parts
from offalign.data.reading.faults import (
  Fault,
  describe,
  is_blank,
  is_empty,
  text,
)
from offalign.data.reading.records import (
  READ_ROLES,
  TOOLS,
  Message,
  Prompt,
  quote,
)
from offalign.errors import UserError, option, suggest

LARGEST = 1.7e38
"""The largest number that is read: differences of two are float32 too."""


def number(value: Any) -> float:
  """A number that float32 holds; neither text nor a boolean."""
  if isinstance(value, decimal.Decimal):
    value = float(value)
  if isinstance(value, bool):
    raise Fault(
      f"the boolean {str(value).lower()} where a number belongs (a column of "
      "booleans is called 'label')"
    )
  if isinstance(value, str):
    quoted = ""
    if not isinstance(as_number(value), str):
      quoted = " (write numbers without quotes)"
    elif re.fullmatch(r"[+-]?\d+,\d+", value.strip()):
      quoted = " (write it with a point, not a comma)"
    raise Fault(f"the text {quote(value)} where a number belongs{quoted}")
  if not isinstance(value, int | float):
    raise Fault(f"{describe(value)} where a number belongs")
  try:
    result = float(value)
  except OverflowError:
    result = math.inf
  if not math.isfinite(result):
    raise Fault(f"{result} is not a finite number")
  if abs(result) > LARGEST:
    raise Fault(
      f"{result:g} is too large: differences of numbers are computed with in "
      "float32, whose largest is 3.4e+38; scale the column down"
    )
  return result


def reward(value: Any, column: str = "reward") -> float:
  """A number that a completion was given; not several of them."""
  several = aspects.unread(value, column)
  if several:
    raise Fault(several)
  return number(value)


def rewards(value: Any) -> tuple[float, ...]:
  """A list of rewards, one a completion."""
  return each(value, lambda item: reward(item, "rewards"))


def as_number(value: Any) -> Any:
  """The number that a text holds; anything else as it is.

  >>> as_number(" 0.5 "), as_number("1e3"), as_number("4 stars")
  (0.5, 1000.0, '4 stars')
  """
  if not isinstance(value, str) or "_" in value or len(value) > 400:
    return value
  try:
    return float(value)
  except ValueError:
    return value


def numbers(value: Any) -> tuple[float, ...]:
  """A list of finite numbers."""
  return each(value, number)


def label(value: Any, int_labels: bool) -> bool:
  """A boolean; the numbers 0 and 1 only with `int_labels`."""
  if isinstance(value, bool):
    return value
  if isinstance(value, int) and value in (0, 1):
    if int_labels:
      return bool(value)
    raise Fault(
      f"the number {value} where true or false belongs; pass "
      f"{option('int_labels', True)} to read 1 as true and 0 as false"
    )
  raise Fault(f"{describe(value)} where true or false belongs")


def prompt(value: Any) -> Prompt:
  """Text, or a conversation that an assistant's turn can follow."""
  if not isinstance(value, list):
    return text(value)
  messages = conversation(value)
  if messages[-1].role == "assistant":
    raise Fault(
      "the last message is the assistant's, and so is the completion: two "
      "assistant turns in a row; end the prompt with the user's turn"
    )
  return messages


def reply(value: Any, prompt: Prompt | None) -> str:
  """A completion: text, or a list of one assistant message.

  Args:
    value: the cell.
    prompt: the prompt it belongs to, which is of the same kind; None where
      that could not be read.
  """
  if not isinstance(value, list):
    if isinstance(prompt, tuple):
      raise Fault(
        f"{describe(value)}, but the prompt is a conversation; write the reply "
        'as [{"role": "assistant", "content": ...}]'
      )
    return text(value)
  if isinstance(prompt, str):
    raise Fault(
      "a conversation, but the prompt is text; write the prompt as "
      '[{"role": "user", "content": ...}], or the reply as text'
    )
  messages = conversation(value)
  if messages[-1].role != "assistant":
    raise Fault(
      f"the last message has role {messages[-1].role!r}, not 'assistant'; end "
      "with the assistant's reply, which is what is learnt"
    )
  if len(messages) > 1:
    raise Fault(
      f"{len(messages)} messages where one reply belongs; write the "
      "assistant's last message alone, or remove the column 'prompt' where "
      "chosen and rejected hold the whole conversation"
    )
  return messages[0].content


def replies(value: Any, prompt: Prompt | None) -> tuple[str, ...]:
  """A list of completions."""
  return each(value, lambda item: reply(item, prompt))


def each(value: Any, parse: Any) -> tuple[Any, ...]:
  """A list, each item read by `parse`, and none of them null."""
  if not isinstance(value, list):
    raise Fault(f"{describe(value)} where a list belongs{_list_cure(value)}")
  if not value:
    raise Fault("an empty list")
  parsed = []
  for i, item in enumerate(value):
    try:
      if item is None:
        raise Fault("null; remove it, and what belongs to it in other columns")
      parsed.append(parse(item))
    except Fault as fault:
      raise Fault(f"item {i}: {fault}") from None
  return tuple(parsed)


def _list_cure(value: Any) -> str:
  """For a list that was written as text."""
  if isinstance(value, str) and value.lstrip()[:1] == "[":
    if "'role'" in value or "'from'" in value or value.lstrip()[:2] == "['":
      return " (write lists as JSON, not as Python prints them)"
    return " (write the list itself, not as text)"
  return ""


def scored_replies(
  value: Any, several: aspects.Aspects | None = None
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
  """UltraFeedback's completions: texts and scores.

  Args:
    value: the cell.
    several: which of the `annotations`, and of the scores beside them, are
      read in place of `overall_score`; None = that one.
  """
  both = each(value, lambda item: _scored_reply(item, several))
  return tuple(text for text, _ in both), tuple(score for _, score in both)


def _scored_reply(
  item: Any, several: aspects.Aspects | None
) -> tuple[str, Any]:
  if not isinstance(item, dict):
    raise Fault(f"{describe(item)}, not an object of response, overall_score")
  response = _key(item, "response", text)
  if several is None:
    return response, _key(item, "overall_score", number)
  rated = _key(item, "annotations", lambda held: dict(held or {}))
  beside = ("overall_score", "fine-grained_score")
  whole = {name: item[name] for name in beside if name in item} | rated
  return response, several.read(whole)


def _key(item: dict[str, Any], key: str, parse: Any) -> Any:
  try:
    if item.get(key) is None:
      raise Fault("null" if key in item else "missing")
    return parse(item[key])
  except Fault as fault:
    raise Fault(f"{key!r}: {fault}") from None


def conversation(value: list[Any]) -> tuple[Message, ...]:
  """A list of messages; empty system messages are left out."""
  if not value:
    raise Fault("an empty list where messages belong")
  read = (_message(i, item) for i, item in enumerate(value))
  messages = tuple(message for message in read if message is not None)
  if not messages:
    raise Fault("no message that says anything")
  for i, (before, after) in enumerate(itertools.pairwise(messages)):
    if before.role == after.role == "assistant":
      raise Fault(
        f"messages {i} and {i + 1}: two assistant turns in a row; join them"
      )
  return messages


def messages_of(prompt: str | Sequence[Any]) -> Prompt:
  """A prompt from Python as a `Prompt`.

  Args:
    prompt: text; or turns, each a (role, content) pair or a message with
      "role", "content" and so on, as in data.

  Raises:
    UserError: for a message that data could not have.
  """
  if isinstance(prompt, str):
    return prompt
  turns = [
    dict(turn) if isinstance(turn, Mapping) else Message(*turn)
    for turn in prompt
  ]
  try:
    if any(isinstance(turn, dict) for turn in turns):
      return _from_messages(turns)
    return tuple(
      message_parts.tools(turn.content) if turn.role == TOOLS else turn
      for turn in turns
      if isinstance(turn, Message)
    )
  except Fault as fault:
    raise UserError(f"a prompt's conversation: {fault}") from None


def _from_messages(turns: list[dict[str, Any] | Message]) -> Prompt:
  """Messages as data has them, pairs and tools among them."""
  items = [
    turn._asdict() if isinstance(turn, Message) else turn for turn in turns
  ]
  tools = [item["content"] for item in items if item.get("role") == TOOLS]
  rest = [item for item in items if item.get("role") != TOOLS]
  return (*map(message_parts.tools, tools), *conversation(rest))


def metadata(value: Any) -> Iterator[str]:
  """Yields the keys of a conversation's messages that are not read."""
  for item in value if isinstance(value, list) else ():
    for key, held in item.items() if isinstance(item, dict) else ():
      read = message_parts.keys_of(item.get("role"))
      if key not in ("role", "content", *read) and not is_empty(held):
        yield str(key)


def _message(i: int, item: Any) -> Message | None:
  where = f"message {i}"
  if not isinstance(item, dict):
    raise Fault(f"{where} is {describe(item)}, not an object of role, content")
  keys = sorted(str(k) for k, v in item.items() if v is not None)
  role = item.get("role")
  more = message_parts.more(item, where) if "role" in keys else {}
  if "content" in item and role in ("system", "developer"):
    keys.append("content")  # a null one is an empty one
  if "role" not in keys or not ("content" in keys or more):
    raise Fault(
      f"{where} has {', '.join(map(quote, keys)) or 'no keys'} where 'role' "
      f"and 'content' belong{_keys_cure(keys)}"
    )
  if role not in READ_ROLES:
    raise Fault(
      f"{where} has role {quote(role)}{_role_cure(role)} (roles: "
      f"{', '.join(READ_ROLES)})"
    )
  try:
    content = message_parts.content(item.get("content"))
  except Fault as fault:
    raise Fault(f"{where} ({role}): {fault}") from None
  if more:
    return Message(role, message_parts.join(content, more, where))
  if not content:
    if role in ("system", "developer"):
      return None
    if role != "tool":
      raise Fault(f"{where} ({role}) is empty; write its text, or remove it")
  return Message(role, content)


def is_silent(item: Any) -> bool:
  """Whether a message is one that says nothing, which `conversation` drops."""
  return _message(0, item) is None


def _role_cure(role: Any) -> str:
  known = _SPEAKERS.get(str(role).lower(), "")
  if known in READ_ROLES:
    return f"; did you mean {known!r}?"
  return suggest(str(role).lower(), READ_ROLES)


def _keys_cure(keys: list[str]) -> str:
  if {"from", "value"} <= set(keys):
    return (
      "; ShareGPT's 'from' and 'value' are read in a column 'conversations' "
      f"({option('columns', repr('conversations=COLUMN'))}), elsewhere "
      "rename them"
    )
  return ""


_SPEAKERS = {
  "human": "user",
  "user": "user",
  "gpt": "assistant",
  "chatgpt": "assistant",
  "assistant": "assistant",
  "bot": "assistant",
  "model": "assistant",
  "ai": "assistant",
  "bard": "assistant",
  "system": "system",
}
"""What data sets in ShareGPT's form call those who speak."""
_TOOLS_OF_SHAREGPT = ("function_call", "observation", "function", "tool")


def sharegpt(value: Any, system: Any = None) -> tuple[tuple[Message, ...], str]:
  """ShareGPT's `conversations`: messages of `from` and `value`.

  Args:
    value: the cell; messages of role and content are taken too.
    system: of the column "system", the message that goes before them.
  """
  if not isinstance(value, list):
    raise Fault(f"{describe(value)} where messages belong")
  turns: list[Any] = []
  for i, item in enumerate(value):
    if isinstance(item, dict) and item.get("from") is not None:
      others = {k: v for k, v in item.items() if k not in ("from", "value")}
      speaker = str(item["from"])
      if speaker.lower() in _TOOLS_OF_SHAREGPT:
        raise Fault(
          f"message {i} is from {quote(speaker)}: tools are not read in this "
          "form; write 'messages' with 'tool_calls' and the role 'tool'"
        )
      if speaker.lower() not in _SPEAKERS:
        raise Fault(
          f"message {i} is from {quote(speaker)}, who is not known (human or "
          "user, gpt or assistant, system)"
        )
      role = _SPEAKERS[speaker.lower()]
      item = {**others, "role": role, "content": item.get("value")}
      if item["content"] is None:
        raise Fault(f"message {i} has no 'value'")
    turns.append(item)
  if not is_blank(system):
    if any(isinstance(t, dict) and t.get("role") == "system" for t in turns):
      raise Fault(
        "a system message, and another in the column 'system'; keep one"
      )
    turns.insert(0, {"role": "system", "content": system})
  return dialogue(turns)


def whole_conversation_or_text(value: Any) -> str | tuple[Message, ...]:
  """Prompt and completion in one."""
  if not isinstance(value, list):
    return text(value)
  messages = conversation(value)
  if messages[-1].role != "assistant":
    raise Fault(
      f"the last message has role {messages[-1].role!r}, not 'assistant'; end "
      "with the assistant's reply, which is what is learnt"
    )
  if len(messages) == 1:
    raise Fault(
      "one message alone, and no prompt column to go with it; write the user's "
      "turn before it"
    )
  return messages


def dialogue(value: Any) -> tuple[tuple[Message, ...], str]:
  """Splits a conversation into prompt and last turn, the assistant's."""
  if not isinstance(value, list):
    raise Fault(f"{describe(value)} where messages belong{_list_cure(value)}")
  messages = whole_conversation_or_text(value)
  assert not isinstance(messages, str)
  return messages[:-1], messages[-1].content


def split_pair(
  chosen: str | tuple[Message, ...], rejected: str | tuple[Message, ...]
) -> tuple[Prompt, str, str]:
  """Splits off the prompt that both completions begin with.

  In conversations it is all but the last message, and must be the same on
  both sides. In text it is the longest common beginning, as in TRL, but cut
  where a word begins, so that no word is split between prompt and
  completion; a space before the completion goes with the completion.

  Returns:
    prompt, chosen reply, rejected reply.
  """
  if isinstance(chosen, str) and isinstance(rejected, str):
    return _split_text(chosen, rejected)
  if isinstance(chosen, str) or isinstance(rejected, str):
    raise Fault(
      "one of chosen and rejected is text, the other a conversation; write "
      "both in one way"
    )
  if chosen[:-1] != rejected[:-1]:
    raise Fault(
      "what precedes the last message differs from that of rejected; the two "
      "sides must answer the same turns"
    )
  return chosen[:-1], chosen[-1].content, rejected[-1].content


def _split_text(chosen: str, rejected: str) -> tuple[str, str, str]:
  if chosen == rejected:
    raise Fault(
      "the same text as rejected, and no prompt column: the prompt cannot be "
      "told from the completion; give a column 'prompt'"
    )
  shorter = min(len(chosen), len(rejected))
  cut = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
  follows = (chosen[cut : cut + 1], rejected[cut : cut + 1])
  if not all(c == "" or c.isspace() for c in follows):
    while cut > 0 and not chosen[cut - 1].isspace():
      cut -= 1
    if cut > 0 and chosen[cut - 1] == " ":
      cut -= 1
  return chosen[:cut], chosen[cut:], rejected[cut:]
