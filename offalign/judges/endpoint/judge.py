"""A judge that is a language model behind an OpenAI-compatible endpoint.

Each comparison is asked twice, with either completion first, as such judges
favour a place (arXiv:2306.05685, section 3.4).
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from offalign import spec
from offalign.endpoints.answers import Answer, Answers, key_of
from offalign.endpoints.client import (
  Capped,
  Client,
  Failed,
  Halted,
  Patience,
)
from offalign.errors import UserError
from offalign.judges.base import Prompt, Verdicts, as_text, check_lengths
from offalign.judges.endpoint import prompt as prompt_lib
from offalign.judges.endpoint.options import Endpoint

_GIVE_UP = 10  # failures in a row
_WORTH = {"A": 1.0, "B": 0.0, "tie": 0.5}
_LOST = ("capped", "failed", "refused", "malformed")
_Item = tuple[Prompt, str, str]


class EndpointJudge:
  """Asks the endpoint; see `Endpoint`.

  An order's verdict counts 1, 1/2 or 0, and the preference is the mean of
  both, so a judge that always takes the left one has only ties. A comparison
  with one order unanswered has no verdict.

  Attributes:
    options: which model is asked, and how.
  """

  def __init__(
    self,
    options: Endpoint,
    folder: str | pathlib.Path | None = None,
    patience: Patience | None = None,
  ):
    """Reads the key and the template, and opens the cache.

    Args:
      options: which model.
      folder: holds the cache where no file is named; None = in memory.
      patience: instead of that of the options.
    """
    self.options = options
    self._template = prompt_lib.load(options.template)
    cache: str | pathlib.Path | None = options.cache
    if cache is None and folder is not None:
      cache = pathlib.Path(folder) / "answers.sqlite"
    self._answers = Answers(cache)
    self._client = Client(
      options.target,
      (os.environ.get(options.key_env) or "").strip() or None,
      patience or Patience(timeout=options.timeout, retries=options.retries),
      max_calls=options.max_calls,
      local=options.is_local,
    )
    self._lock = threading.Lock()
    self._failures = 0
    self._reason = ""
    self._fatal: BaseException | None = None
    self._tally: dict[str, int] = {}

  def __repr__(self) -> str:
    return f"EndpointJudge({self.spec})"

  @property
  def spec(self) -> str:
    """See `Judge`."""
    fields = dataclasses.fields(self.options)
    chosen = {f.name: getattr(self.options, f.name) for f in fields}
    return spec.unparse(
      "endpoint",
      {f.name: chosen[f.name] for f in fields if chosen[f.name] != f.default},
    )

  @property
  def why(self) -> str:
    """Why the last of the failed calls failed; "" where none has."""
    return self._reason

  def close(self) -> None:
    """Closes the connections and the cache."""
    self._client.close()
    self._answers.close()

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """See `Judge`.

    Each comparison is in the mean, or in one of four counts: "malformed" (an
    answer that is no verdict), "refused" (the endpoint would not answer),
    "failed" (it could not, after all retries) and "capped" (not asked, as
    `max_calls` was reached). Further counts: "cut_answers", malformed ones as
    long as `max_tokens`; "identical" texts, which are
    ties and are not asked about; "disagreed", the orders' verdicts are
    opposite; "calls" and "retried" of this comparison, "cached" answers, and
    "prompt_tokens" and "completion_tokens" of the calls, as billed.

    Raises:
      UserError: where no call can go well, or ten comparisons in a row fail.
        What was answered is in the cache.
    """
    check_lengths(prompts, a, b)
    items = list(zip(prompts, a, b, strict=True))
    names = "identical disagreed cut_answers cached calls retried prompt_tokens"
    self._tally = dict.fromkeys((*names.split(), "completion_tokens"), 0)
    self._failures = 0
    before = self._client.calls, self._client.retried
    distinct = [item for item in dict.fromkeys(items) if item[1] != item[2]]
    found = dict(zip(distinct, self._all(distinct), strict=True))
    counts = dict.fromkeys(("ties", *_LOST), 0)
    preferences = np.empty(len(items))
    for i, item in enumerate(items):
      said = found.get(item, 0.5)
      self._tally["identical"] += item not in found
      preferences[i] = np.nan if isinstance(said, str) else said
      if isinstance(said, str):
        counts[said] += 1
      counts["ties"] += said == 0.5
    self._tally["calls"] = self._client.calls - before[0]
    self._tally["retried"] = self._client.retried - before[1]
    return Verdicts(preferences, counts | self._tally)

  def _all(self, items: Sequence[_Item]) -> list[float | str]:
    """A preference for each, or why there is none."""
    self._fatal = None
    self._client.begin()
    pool = concurrent.futures.ThreadPoolExecutor(self.options.workers)
    try:
      # A bar where it takes long and a terminal shows it.
      return list(
        tqdm.tqdm(
          pool.map(self._watched, items),
          total=len(items),
          desc="judging",
          unit="comparison",
          disable=None,
          delay=1,
          leave=False,
        )
      )
    except Halted:
      assert self._fatal is not None
      raise self._fatal from None
    except BaseException:
      self._client.halt()
      raise
    finally:
      pool.shutdown(wait=True, cancel_futures=True)

  def _watched(self, item: _Item) -> float | str:
    """`_one`; what ends it ends the waits of the other threads too."""
    try:
      return self._one(item)
    except Halted:
      raise
    except BaseException as error:
      with self._lock:
        self._fatal = self._fatal or error
      self._client.halt()
      raise

  def _one(self, item: _Item) -> float | str:
    prompt, a, b = item
    worths: list[float] = []
    for first, second in ((a, b), (b, a)):
      said = self._verdict(as_text(prompt), first, second)
      if said not in _WORTH:
        return said  # the other order alone would be paid for in vain
      worths.append(_WORTH[said])
    with self._lock:
      self._tally["disagreed"] += worths[0] == worths[1] != 0.5
    return (worths[0] + 1.0 - worths[1]) / 2

  def _verdict(self, prompt: str, first: str, second: str) -> str:
    """ "A", "B" or "tie" of one order, or a name of `_LOST`."""
    text = prompt_lib.fill(self._template, prompt, first, second)
    body: dict[str, Any] = {
      "model": self.options.model,
      "messages": [
        {
          "role": "user",
          "content": text.encode("utf-8", "replace").decode(),
        }
      ],
      **self._decoding,
    }
    key = key_of(self.options.target, body)
    answer = self._answers.get(key)
    if answer is not None:
      self._add(cached=1)
    else:
      try:
        answer = self._client.ask(body)
      except Capped:
        return "capped"
      except Failed as error:
        self._note_failure(str(error))
        return "failed"
      self._keep(key, answer)
    if answer.refused:
      return "refused"
    said = prompt_lib.read(answer.text)
    if said is None and answer.completion_tokens >= self.options.max_tokens:
      self._add(cut_answers=1)
    return said or "malformed"

  @property
  def _decoding(self) -> dict[str, int]:
    """How the answer is to be decoded, as the request says it."""
    if self.options.reasoning:
      return {"max_completion_tokens": self.options.max_tokens}
    return {"temperature": 0, "max_tokens": self.options.max_tokens}

  def _keep(self, key: str, answer: Answer) -> None:
    self._answers.put(key, answer)
    self._add(
      prompt_tokens=answer.prompt_tokens,
      completion_tokens=answer.completion_tokens,
    )
    with self._lock:
      self._failures = 0

  def _note_failure(self, reason: str) -> None:
    """Takes a note of it.

    Raises:
      UserError: for one too many in a row.
    """
    with self._lock:
      self._failures += 1
      self._reason = reason
      if self._failures >= _GIVE_UP:
        raise UserError(
          f"the judge at {self.options.target} failed {_GIVE_UP} times in a "
          f"row ({reason}); its answers so far are kept, and the same command "
          "goes on from them"
        )

  def _add(self, **numbers: int) -> None:
    with self._lock:
      for name, number in numbers.items():
        self._tally[name] += number
