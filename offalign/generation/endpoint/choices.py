"""Read an answer of `POST /v1/completions`: texts, token ids, log-probs.

Engines tell token ids in the field `token_ids` (vLLM and SGLang, where
`return_token_ids` asks for it), or as "token_id:17" in place of a token's text
(vLLM, where `return_tokens_as_token_ids` does). Others give text alone.
"""

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from offalign.endpoints import chat
from offalign.endpoints.answers import Answer
from offalign.errors import UserError

_ID = re.compile(r"token_id:(\d{1,9})")
_ROUNDING = 1e-3  # nats that a log-prob may be above 0
_MALFORMED = (TypeError, KeyError, ValueError, AttributeError, OverflowError)


class Impossible(UserError):
  """What an engine told is no completion; the sentence begins with its verb."""


@dataclasses.dataclass(frozen=True)
class Choice:
  """One completion as an engine tells it.

  Attributes:
    text: without the token that ends it.
    ids: its tokens, the one that ends it included; None where only text is
      told.
    logprobs: of each of `ids`; None where they are not told.
    finished: whether it ended by itself and was not cut.
  """

  text: str
  ids: tuple[int, ...] | None
  logprobs: tuple[float, ...] | None
  finished: bool


def pack(parsed: Any) -> Answer | None:
  """What is kept of an answer, as JSON in its text; None if it is none.

  Args:
    parsed: the JSON of an answer.
  """
  try:
    kept = [
      {
        "index": int(choice["index"]),
        "text": choice["text"],
        "ids": _ids(choice),
        "logprobs": (choice.get("logprobs") or {}).get("token_logprobs"),
        "reason": choice["finish_reason"],
      }
      for choice in parsed["choices"]
    ]
    usage = parsed.get("usage") or {}
    counts = [
      chat.tokens(usage.get(name))
      for name in ("prompt_tokens", "completion_tokens")
    ]
  except _MALFORMED:
    return None
  return Answer(json.dumps(kept), False, *counts)


def _ids(choice: dict[str, Any]) -> Any:
  """The token ids of a choice, unchecked; None where it has none."""
  told = choice.get("token_ids")
  if told is not None:
    return told
  names = (choice.get("logprobs") or {}).get("tokens")
  found = [_ID.fullmatch(name) for name in names or ()]
  if not found or None in found:
    return None
  return [int(match[1]) for match in found if match]


def unpack(
  answer: Answer,
  each: int,
  *,
  ends: Sequence[int],
  vocab_size: int,
  longest: int,
) -> list[Choice]:
  """Reads what `pack` kept, and refuses what no completion can be.

  Some engines leave out the token that ended a completion. It is put back, and
  as nobody knows its log-prob, the completion then has none.

  Args:
    answer: from `pack`.
    each: completions that were asked for.
    ends: ids of the tokens that end a completion.
    vocab_size: of the tokenizer.
    longest: tokens that were asked for at most.

  Returns:
    The completions, by their index.

  Raises:
    Impossible: saying what is wrong with them.
  """
  try:
    kept = json.loads(answer.text)
  except ValueError:
    raise Impossible(
      "has answers in its cache that cannot be read; delete that file"
    ) from None
  if len(kept) != each:
    raise Impossible(
      f"gave {len(kept):,} completions of a prompt where {each:,} were "
      "asked for (n)"
    )
  kept.sort(key=lambda choice: choice["index"])
  if [choice["index"] for choice in kept] != list(range(each)):
    raise Impossible("gave completions whose 'index' is not 0, 1, ...")
  return [_choice(choice, ends, vocab_size, longest) for choice in kept]


def _choice(
  kept: dict[str, Any], ends: Sequence[int], vocab_size: int, longest: int
) -> Choice:
  text, reason = kept["text"], kept["reason"]
  if not isinstance(text, str):
    raise Impossible("gave a completion whose 'text' is no text")
  text = text.encode("utf-8", "replace").decode()  # half of a pair, perhaps
  if reason not in ("stop", "length"):
    raise Impossible(
      f"ended a completion with finish_reason={str(reason)[:40]!r}, which "
      "is neither 'stop' nor 'length'"
    )
  finished = reason == "stop"
  ids = _tokens(kept["ids"], vocab_size)
  logprobs = _logprobs(kept["logprobs"])
  if ids is None:
    return Choice(text, None, None, finished)
  if len(ids) > longest:
    raise Impossible(
      f"gave {len(ids):,} tokens where {longest:,} were asked for at most "
      "(max_tokens)"
    )
  if logprobs is not None and len(logprobs) != len(ids):
    raise Impossible(f"gave {len(logprobs):,} log-probs of {len(ids):,} tokens")
  if finished and (not ids or ids[-1] not in ends):
    return Choice(text, (*ids, ends[0]), None, finished)
  if not ids:
    raise Impossible("gave a completion without tokens that did not end")
  return Choice(text, ids, logprobs, finished or ids[-1] in ends)


def _tokens(told: Any, vocab_size: int) -> tuple[int, ...] | None:
  if told is None:
    return None
  if not isinstance(told, list) or any(type(x) is not int for x in told):
    raise Impossible("gave token ids that are no whole numbers")
  for token in told:
    if not 0 <= token < vocab_size:
      raise Impossible(
        f"gave token {token}, and this policy's tokenizer has "
        f"{vocab_size:,}: serve a model that has the same tokenizer"
      )
  return tuple(told)


def _logprobs(told: Any) -> tuple[float, ...] | None:
  if told is None:
    return None
  wrong = not isinstance(told, list) or any(
    type(x) not in (int, float) or not math.isfinite(x) or x > _ROUNDING
    for x in told
  )
  if wrong:
    raise Impossible("gave log-probs that are no finite numbers up to 0")
  return tuple(float(x) for x in told)
