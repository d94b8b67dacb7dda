"""The content of a message that has more than text."""

import json
from collections.abc import Callable
from typing import Any


class WholeMessage(str):
  """A message's text with its reasoning, tool calls or the call it answers.

  As text it is JSON of all of that, so that whatever compares, counts, hashes
  or shows contents sees the whole message, as it was logged. A chat template
  is given the parts. It does not equal a plain text of the same letters.
  """

  __slots__ = ()

  def __eq__(self, other: object) -> bool:
    """Whether the other is a whole message of the same JSON."""
    return isinstance(other, WholeMessage) and str.__eq__(self, other)

  def __ne__(self, other: object) -> bool:
    """The contrary of `==`, which `str` has of its own."""
    return not self == other

  def __hash__(self) -> int:
    """Another number than that of the plain text."""
    return hash((WholeMessage, str(self)))

  @classmethod
  def of(cls, content: str, more: dict[str, Any]) -> "WholeMessage":
    """Joins a text with the other keys of its message, in their order."""
    parts = {"content": content, **more}
    return cls(json.dumps(parts, ensure_ascii=False, allow_nan=False))

  @property
  def parts(self) -> dict[str, Any]:
    """The keys of the message but for its role, among them "content"."""
    found: dict[str, Any] = json.loads(self)
    return found

  def map(self, change: Callable[[str], str]) -> "WholeMessage":
    """The same with every text in it changed, keys of tool calls too."""
    parts = self.parts
    content = change(parts.pop("content"))
    more = {key: map_texts(value, change) for key, value in parts.items()}
    return WholeMessage.of(content, more)


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
  """JSON with every text in it changed, keys too."""
  if isinstance(value, str):
    return change(value)
  if isinstance(value, list):
    return [map_texts(item, change) for item in value]
  if isinstance(value, dict):
    return {change(k): map_texts(v, change) for k, v in value.items()}
  return value
