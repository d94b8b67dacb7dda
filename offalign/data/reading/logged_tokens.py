"""Columns of token ids and log-probs, as the engine that wrote them logged."""

import math
from typing import Any

from offalign.data.reading.faults import Fault, describe
from offalign.data.reading.token_text import TokenText

IDS, LOGPROBS = "completion_ids", "logprobs"
"""Columns of a completion's token ids, and of the log-prob of each."""
PAIR_IDS = ("chosen_ids", "rejected_ids")
PAIR_LOGPROBS = ("chosen_logprobs", "rejected_logprobs")
COLUMNS = (IDS, LOGPROBS, *PAIR_IDS, *PAIR_LOGPROBS)
"""Every column of tokens that a form may have."""
OTHER_NAMES = {
  "token_ids": IDS,
  "output_ids": IDS,
  "output_token_ids": IDS,
  "completion_token_ids": IDS,
  "response_ids": IDS,
  "response_token_ids": IDS,
  "token_logprobs": LOGPROBS,
  "token_logps": LOGPROBS,
  "output_logprobs": LOGPROBS,
  "completion_logprobs": LOGPROBS,
  "response_logprobs": LOGPROBS,
  "behaviour_token_logps": LOGPROBS,
}
"""Names that engines and other trainers have for the two columns."""

_LARGEST = 2**31 - 1
_ABOVE = 1e-3  # by which rounding may lift a log-prob above 0; nats
_NEAR = 1e-2  # relative, of a sum of log-probs that was logged by itself


def ids(value: Any) -> tuple[int, ...]:
  """A cell of token ids: a list of whole numbers from 0.

  Raises:
    Fault: naming the item that is none.
  """
  found = []
  for i, item in enumerate(_items(value)):
    if isinstance(item, bool) or not isinstance(item, int | float):
      raise Fault(f"item {i}: {describe(item)} where a token id belongs")
    if item != int(item) or not 0 <= item <= _LARGEST:
      raise Fault(f"item {i}: {item} is no token id, a whole number from 0")
    found.append(int(item))
  return tuple(found)


def logprobs(value: Any) -> tuple[float, ...]:
  """A cell of log-probs, one a token; nats.

  They are numbers, or objects with a "logprob"; or an object that holds the
  list under "content" or "token_logprobs", as completion endpoints answer.

  Raises:
    Fault: naming the item that is no log-prob.
  """
  if isinstance(value, dict):
    held = next((k for k in ("content", "token_logprobs") if k in value), None)
    if held is None:
      raise Fault("an object without 'content' or 'token_logprobs'")
    value = value[held]
  found = []
  for i, item in enumerate(_items(value)):
    if isinstance(item, dict):
      item = item.get("logprob")
    if isinstance(item, bool) or not isinstance(item, int | float):
      raise Fault(f"item {i}: {describe(item)} where a log-prob belongs")
    if not math.isfinite(item):
      raise Fault(f"item {i}: {item} is not a finite number")
    if item > _ABOVE:
      raise Fault(f"item {i}: {item:g} is above 0, which no log-prob is")
    found.append(float(item))
  return tuple(found)


def _items(value: Any) -> list[Any]:
  if not isinstance(value, list):
    raise Fault(f"{describe(value)} where a list of one entry a token belongs")
  if not value:
    raise Fault("an empty list: a completion has one token or more")
  return value


def joined(
  text: str, tokens: tuple[int, ...], logps: tuple[float, ...] | None
) -> TokenText:
  """A completion with its ids and, where they were logged, log-probs.

  Raises:
    Fault: where the two lists are not of one length.
  """
  if logps is not None and len(logps) != len(tokens):
    raise Fault(f"{len(logps):,} log-probs for {len(tokens):,} token ids")
  return TokenText(text, tokens, logps)


def check_sum(summed: float, logged: float) -> None:
  """Refuses a sum that was logged beside log-probs with another sum.

  Args:
    summed: of the log-probs of the tokens; nats.
    logged: as its own column has it.

  Raises:
    Fault: with both.
  """
  if abs(summed - logged) > _NEAR * max(1.0, abs(summed)):
    raise Fault(
      f"{logged:g}, but the log-probs of the tokens ({LOGPROBS!r}) add up to "
      f"{summed:g}; take one of the two columns out"
    )


def look_like_ids(value: Any) -> bool:
  """Whether a cell may hold token ids, of one completion or of several."""
  while isinstance(value, list) and value:
    value = value[0]
  return isinstance(value, int | float) and not isinstance(value, bool)
