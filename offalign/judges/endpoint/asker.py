"""One question to the endpoint: from the file of answers, or by a call."""

import abc
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from offalign.endpoints.answers import Answer, Answers, key_of
from offalign.endpoints.client import Capped, Client, Failed, Patience
from offalign.endpoints.crowd import ask_all
from offalign.errors import UserError
from offalign.judges.endpoint.options import Endpoint

LOST = ("capped", "failed", "refused", "malformed")
"""Why a question has no answer that can be used."""

ANSWERS = "answers.sqlite"
"""The file of answers in a folder."""

_GIVE_UP = 10  # failures in a row
_COUNTED = (
  "cut_answers",
  "cached",
  "calls",
  "retried",
  "prompt_tokens",
  "completion_tokens",
)

Q = TypeVar("Q")
A = TypeVar("A")


class Asker:
  """Asks the model of an endpoint, and keeps what it answers.

  Attributes:
    options: which model is asked, and how.
    why: why the last of the failed calls failed; "" where none has.
  """

  def __init__(
    self,
    options: Endpoint,
    folder: str | pathlib.Path | None,
    patience: Patience | None,
  ):
    """Reads the key, and opens the cache.

    Args:
      options: which model.
      folder: holds the cache where no file is named; None = in memory.
      patience: instead of that of the options.
    """
    self.options = options
    cache: str | pathlib.Path | None = options.cache
    if cache is None and folder is not None:
      cache = pathlib.Path(folder) / ANSWERS
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
    self.why = ""
    self._tally: dict[str, int] = {}
    self._before = (0, 0)

  def close(self) -> None:
    """Closes the connections and the cache."""
    self._client.close()
    self._answers.close()

  def all(
    self,
    one: Callable[[Q], A],
    questions: Sequence[Q],
    unit: str,
    watch: Callable[[], None] = lambda: None,
  ) -> list[A]:
    """Answers `one` gives to each question, in threads; counts begin anew.

    Args:
      one: calls `ask`, as often as it takes.
      questions: n.
      unit: what one of them is, on the progress bar.
      watch: called now and then; what it raises ends the asking.

    Raises:
      UserError: where no call can go well, or ten questions in a row fail.
        What was answered is in the cache.
    """
    self._tally = dict.fromkeys(_COUNTED, 0)
    self._failures = 0
    self._before = self._client.calls, self._client.retried
    return ask_all(
      self._client,
      one,
      questions,
      workers=self.options.workers,
      desc="judging",
      unit=unit,
      watch=watch,
    )

  @property
  def counts(self) -> dict[str, int]:
    """What the last `all` took.

    "cut_answers", malformed ones as long as `max_tokens`; "cached" answers;
    "calls" and "retried"; "prompt_tokens" and "completion_tokens" of the
    calls, as billed.
    """
    calls, retried = self._before
    return self._tally | {
      "calls": self._client.calls - calls,
      "retried": self._client.retried - retried,
    }

  def ask(self, text: str, read: Callable[[str], A | None]) -> A | str:
    """What an answer says, or a name of `LOST`.

    Args:
      text: the question.
      read: what an answer's text says, never a text; None = nothing usable.

    Raises:
      UserError: see `all`.
    """
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
    said = read(answer.text)
    if said is None and answer.completion_tokens >= self.options.max_tokens:
      self._add(cut_answers=1)
    return "malformed" if said is None else said

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
      self.why = reason
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


class AtEndpoint(abc.ABC):
  """What a judge behind an endpoint is, whatever it asks.

  Attributes:
    options: which model is asked, and how.
  """

  def __init__(
    self,
    options: Endpoint,
    folder: str | pathlib.Path | None = None,
    patience: Patience | None = None,
  ):
    """Reads the key and the question, and opens the cache.

    Args:
      options: which model.
      folder: holds the cache where no file is named; None = in memory.
      patience: instead of that of the options.
    """
    self.options = options
    self._question = self._load(options)
    self._asker = Asker(options, folder, patience)

  def __repr__(self) -> str:
    return f"{type(self).__name__}({self.spec})"

  @staticmethod
  @abc.abstractmethod
  def _load(options: Endpoint) -> str:
    """The text of the question, with its places."""

  @property
  def spec(self) -> str:
    """See `Judge`."""
    return self.options.spec

  @property
  def why(self) -> str:
    """Why the last of the failed calls failed; "" where none has."""
    return self._asker.why

  def close(self) -> None:
    """Closes the connections and the cache."""
    self._asker.close()
