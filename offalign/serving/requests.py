"""Read a request for a chat completion; refuse what is not served.

The form is that of OpenAI's `POST /v1/chat/completions`. A field that would
change the answer and is not served is refused, and so are values out of range;
fields that only label a request are taken and left.
"""

import dataclasses
import json
import secrets
from typing import Any

from offalign.data.reading.parsing import messages_of
from offalign.data.reading.records import Prompt
from offalign.errors import UserError, printable

MOST_MESSAGES = 1_000
_ROLES = ("system", "developer", "user", "assistant")
_LABELS = {
  "metadata",
  "model",
  "prompt_cache_key",
  "safety_identifier",
  "service_tier",
  "store",
  "user",
  "verbosity",
}
_OFF: dict[str, tuple[Any, ...]] = {
  "frequency_penalty": (0,),
  "function_call": ("none",),
  "functions": ([],),
  "logit_bias": ({},),
  "logprobs": (False,),
  "modalities": (["text"],),
  "n": (1,),
  "parallel_tool_calls": (True, False),
  "presence_penalty": (0,),
  "response_format": ({"type": "text"},),
  "tool_choice": ("none", "auto"),
  "tools": ([],),
}
"""Fields that are not served, and the values at which they change nothing."""


@dataclasses.dataclass(frozen=True)
class Request:
  """A chat completion that is asked for.

  Attributes:
    prompt: (role, content) turns.
    stream: whether the text is sent as it grows.
    usage: whether a stream ends with the counts of tokens.
    max_new_tokens: tokens at most; None: the server's limit.
    temperature: of the sampling.
    top_p: share of the probability to draw from; None: all.
    seed: of the sample; drawn where the request has none.
    stop: texts that end the completion and are no part of it.
  """

  prompt: Prompt
  stream: bool
  usage: bool
  max_new_tokens: int | None
  temperature: float
  top_p: float | None
  seed: int
  stop: tuple[str, ...]


def read(body: bytes) -> Request:
  """Parses the body of a request.

  Args:
    body: JSON.

  Raises:
    UserError: with a sentence for whoever sent it.
  """
  try:
    given = json.loads(body)
  except (ValueError, RecursionError):
    raise UserError("the body is not JSON") from None
  if not isinstance(given, dict):
    raise UserError("the body is not a JSON object")
  given = {k: v for k, v in given.items() if v is not None}
  _refuse_others(given)
  options = given.get("stream_options", {})
  if not isinstance(options, dict):
    raise UserError("stream_options is not a JSON object")
  top_p = _number(given, "top_p", 1.0, 0, 1)
  if top_p == 0:
    raise UserError("top_p must be above 0")
  temperature = _number(given, "temperature", 1.0, 0, 2)
  return Request(
    prompt=_messages(given.get("messages")),
    stream=_flag(given, "stream"),
    usage=_flag(options, "include_usage"),
    max_new_tokens=_most(given),
    temperature=temperature,
    # Without effect where the likeliest token is taken, or all are.
    top_p=None if top_p == 1 or temperature == 0 else top_p,
    seed=_seed(given),
    stop=_stop(given.get("stop", ())),
  )


_SERVED = {
  "max_completion_tokens",
  "max_tokens",
  "messages",
  "seed",
  "stop",
  "stream",
  "stream_options",
  "temperature",
  "top_p",
}


def _refuse_others(given: dict[str, Any]) -> None:
  for name, value in given.items():
    if name in _SERVED or name in _LABELS or value in _OFF.get(name, ()):
      continue
    raise UserError(f"{printable(repr(name)):.80} is not served here")


def _messages(found: Any) -> Prompt:
  if not isinstance(found, list) or not found:
    raise UserError("messages is missing: give a list of role and content")
  if len(found) > MOST_MESSAGES:
    raise UserError(f"more than {MOST_MESSAGES:,} messages")
  turns = []
  for i, message in enumerate(found):
    if not isinstance(message, dict):
      raise UserError(f"messages[{i}] is not a JSON object")
    role = message.get("role")
    if role not in _ROLES:
      raise UserError(
        f"messages[{i}]: the role is not one of {', '.join(_ROLES)}"
      )
    more = {k for k, v in message.items() if v not in (None, [], "")}
    more -= {"role", "content", "name"}
    if more:
      raise UserError(f"messages[{i}] has {_shown(more)}, which is not served")
    turns.append((role, _content(message.get("content"), i)))
  if turns[-1][0] == "assistant":
    raise UserError("the last message is the assistant's: nothing to answer")
  return messages_of(tuple(turns))


def _shown(names: set[str]) -> str:
  return f"{printable(repr(min(names))):.80}"


def _content(found: Any, i: int) -> str:
  if isinstance(found, list):
    parts = [
      part.get("text")
      for part in found
      if isinstance(part, dict) and part.get("type") == "text"
    ]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(found):
      raise UserError(f"messages[{i}]: of the content, text alone is served")
    found = "".join(texts)
  if not isinstance(found, str):
    raise UserError(f"messages[{i}]: the content is not text")
  return found


def _flag(given: dict[str, Any], name: str) -> bool:
  value = given.get(name) or False
  if not isinstance(value, bool):
    raise UserError(f"{name} is neither true nor false")
  return value


def _number(
  given: dict[str, Any], name: str, default: float, low: float, high: float
) -> float:
  value = given.get(name, default)
  if isinstance(value, bool) or not isinstance(value, int | float):
    raise UserError(f"{name} is not a number")
  if not low <= value <= high:  # nor is NaN
    raise UserError(f"{name} must be from {low} to {high}")
  return float(value)


def _whole(given: dict[str, Any], name: str) -> int | None:
  value = given.get(name)
  if value is not None and (isinstance(value, bool) or type(value) is not int):
    raise UserError(f"{name} is not a whole number")
  return value


def _most(given: dict[str, Any]) -> int | None:
  both = [
    _whole(given, name) for name in ("max_completion_tokens", "max_tokens")
  ]
  for value in both:
    if value is not None and value < 1:
      raise UserError("max_completion_tokens must be at least 1")
  return both[1] if both[0] is None else both[0]


def _seed(given: dict[str, Any]) -> int:
  seed = _whole(given, "seed")
  if seed is None:
    return secrets.randbelow(2**31)
  return seed % 2**31


def _stop(found: Any) -> tuple[str, ...]:
  given = [found] if isinstance(found, str) else found
  if (
    not isinstance(given, list | tuple)
    or len(given) > 4
    or not all(isinstance(text, str) and text for text in given)
  ):
    raise UserError("stop must be a text, or at most 4 texts")
  return tuple(given)
