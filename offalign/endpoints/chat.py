"""Read an answer of `POST /v1/chat/completions`."""

from typing import Any

from offalign.endpoints.answers import Answer

_MOST_TOKENS = 10**9  # of one answer; what is more is no count


def read(parsed: Any) -> Answer | None:
  """The first choice of a chat completion; None if it is not one.

  Args:
    parsed: the JSON of an answer.
  """
  try:
    choice = parsed["choices"][0]
    message = choice["message"]
    text = message.get("content") or ""
    stopped = choice.get("finish_reason") == "content_filter"
    refused = bool(message.get("refusal")) or stopped
    usage = parsed.get("usage") or {}
    counts = [
      tokens(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")
    ]
  except (
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ValueError,
    OverflowError,
  ):
    return None
  if not isinstance(text, str):
    return None
  text = text.encode("utf-8", "replace").decode()  # half of a pair, perhaps
  return Answer(text, refused, *counts)


def tokens(count: Any) -> int:
  """Tokens that were billed; 0 where what is said can be no such count."""
  number = int(count or 0)
  return number if 0 <= number <= _MOST_TOKENS else 0
