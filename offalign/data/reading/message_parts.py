"""What a message has besides its role: text in parts, reasoning, tool calls.

Tool calls and tools are kept as they were logged, the order of their keys
too, since a chat template writes them as JSON.
"""

import json
from typing import Any

from offalign.data.reading.faults import Fault, describe, is_empty, text
from offalign.data.reading.records import TOOLS, Message, quote
from offalign.data.reading.whole_message import WholeMessage

REASONING = ("reasoning_content", "reasoning", "thinking")
"""What logs call the same thing, the reasoning before an answer."""

_OF_ROLE: dict[Any, tuple[str, ...]] = {
  "assistant": (*REASONING, "tool_calls"),
  "tool": ("tool_call_id", "name"),
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_UNREAD = (
  "audio",
  "documents",
  "function_call",
  "image",
  "images",
  *REASONING,
  "tool_call_id",
  "tool_calls",
  "video",
  "videos",
)
"""Keys that a template may write, and so are refused where not read."""

_DEEPEST = 64


def keys_of(role: Any) -> tuple[str, ...]:
  """The keys of a message of this role that are read besides its content."""
  return _OF_ROLE.get(role, ()) if isinstance(role, str) else ()


def content(value: Any) -> str:
  """Text, or the texts of a list of parts, one after the other; null is "".

  Raises:
    Fault: for a part that is no text, by its type.
  """
  if value is None:
    return ""
  if not isinstance(value, list):
    return text(value)
  found = []
  for i, part in enumerate(value):
    kind = part.get("type", "text") if isinstance(part, dict) else "text"
    if kind not in _TEXT_PARTS:
      raise Fault(
        f"part {i} of its content is of type {quote(kind)}, and only text is "
        "read; remove the part, or the row"
      )
    found.append(text(part.get("text") if isinstance(part, dict) else part))
  return "".join(found)


def more(item: dict[str, Any], where: str) -> dict[str, Any]:
  """What a message has besides text, in a fixed order of keys.

  Args:
    item: the message.
    where: what it is called in messages.

  Raises:
    Fault: for a key that is not read, or one that does not hold what it
      should.
  """
  role = item.get("role")
  if role == "function":
    raise Fault(
      f"{where} has role 'function', an old name; call it 'tool', and write "
      "the call into the 'tool_calls' of the assistant's message"
    )
  read = keys_of(role)
  for key in _UNREAD:
    if key not in read and not is_empty(item.get(key)):
      raise Fault(f"{where} {_why_unread(key, role)}")
  found: dict[str, Any] = {}
  for key in REASONING if role == "assistant" else ():
    said = item.get(key)
    if is_empty(said):
      continue
    if not isinstance(said, str):
      raise Fault(f"{where}: {key!r} is {describe(said)} where text belongs")
    if found and text(said) not in found.values():
      raise Fault(
        f"{where} has {next(iter(found))!r} and another text as {key!r}; "
        "keep one of them"
      )
    found = found or {key: text(said)}
  if "tool_calls" in read and not is_empty(item.get("tool_calls")):
    found["tool_calls"] = _calls(item["tool_calls"], where)
  for key in ("tool_call_id", "name") if role == "tool" else ():
    if not is_empty(item.get(key)):
      found[key] = text(item[key])
  return found


def _why_unread(key: str, role: Any) -> str:
  if key in (*REASONING, "tool_calls"):
    return (
      f"has {key!r}, which only messages of the assistant have, not of "
      f"{quote(role)}"
    )
  if key == "tool_call_id":
    return (
      f"has 'tool_call_id', which only messages of role 'tool' have, not "
      f"of {quote(role)}"
    )
  if key == "function_call":
    return (
      "has 'function_call', an old form that is not supported; write it as "
      "'tool_calls': [{'type': 'function', 'function': {...}}]"
    )
  return (
    f"has {key!r}, which is not supported: only text is read; remove the key, "
    "or the row"
  )


def join(content: str, more: dict[str, Any], where: str) -> WholeMessage:
  """A message's content with what else it has.

  Raises:
    Fault: where it cannot be written as JSON in UTF-8.
  """
  try:
    whole = WholeMessage.of(content, more)
  except (TypeError, ValueError, RecursionError) as error:
    raise Fault(f"{where} is not JSON: {error}") from None
  try:
    text(whole)
  except Fault as fault:
    raise Fault(f"{where}: {fault}") from None
  return whole


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
  """Tool calls as they are logged, each with a name and arguments."""
  calls = _from_json(value, f"{where}: 'tool_calls'")
  if not isinstance(calls, list):
    raise Fault(f"{where}: 'tool_calls' is {describe(calls)}, not a list")
  for k, call in enumerate(calls):
    at = f"{where}: tool call {k}"
    if not isinstance(call, dict):
      raise Fault(f"{at} is {describe(call)}, not an object")
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
      raise Fault(
        f"{at} names no function; write {{'type': 'function', 'function': "
        "{'name': ..., 'arguments': {...}}}"
      )
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str | dict):
      raise Fault(
        f"{at}: its arguments are {describe(arguments)}, not an object"
      )
  return calls


def tools(value: Any) -> Message:
  """The tools of a conversation, a list or its JSON, as its first message.

  Raises:
    Fault: where they are not a list of objects that have names.
  """
  found = _from_json(value, "tools")
  if not isinstance(found, list):
    raise Fault(f"{describe(found)} where a list of tools belongs")
  found = [_from_json(tool, f"tool {k}") for k, tool in enumerate(found)]
  for k, tool in enumerate(found):
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
      raise Fault(
        f"tool {k} has no name; write {{'type': 'function', 'function': "
        "{'name': ..., 'description': ..., 'parameters': {...}}}"
      )
  try:
    written = json.dumps(found, ensure_ascii=False, allow_nan=False)
  except (TypeError, ValueError, RecursionError) as error:
    raise Fault(f"not JSON: {error}") from None
  return Message(TOOLS, text(written))


def _from_json(value: Any, what: str) -> Any:
  """A value, or what its text holds as JSON, not nested too deep."""
  if isinstance(value, str):
    try:
      value = json.loads(value)
    except (ValueError, RecursionError) as error:
      raise Fault(f"{what}: text that is not JSON ({error})") from None
  level, depth = [value], 0
  while level:
    depth += 1
    if depth > _DEEPEST:
      raise Fault(f"{what}: nested more than {_DEEPEST} deep")
    inner: list[Any] = []
    for one in level:
      if isinstance(one, dict):
        inner += one.values()
      elif isinstance(one, list):
        inner += one
    level = inner
  return value
