"""Asks an OpenAI-compatible endpoint, and puts up with what it does."""

import dataclasses
import email.utils
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2

from offalign.endpoints import chat
from offalign.endpoints.answers import Answer
from offalign.errors import UserError, printable

_RETRIED = frozenset({408, 409, 425, 429})  # and all from 500
_FILTERED = ("content_filter", "content_policy_violation")
LARGEST = 4 << 20
"""Bytes of an answer that are read, where nothing else is said."""


class Failed(Exception):
  """There was no usable answer, as often as was tried."""


class Capped(Exception):
  """No further call may be made."""


class Halted(Exception):
  """Another thread has met something that ends all of them."""


@dataclasses.dataclass(frozen=True)
class Patience:
  """How long is waited, and how often.

  Attributes:
    timeout: seconds that a call may take in all.
    retries: calls after the first, for one answer.
    base: seconds before the first of them; each further wait is twice the
      one before, less a random part of up to a half.
    longest: seconds above which nothing is waited for, though the endpoint
      asks for it.
    seed: of the random part.
  """

  timeout: float = 60.0
  retries: int = 5
  base: float = 0.5
  longest: float = 120.0
  seed: int = 0

  def wait(self, key: str, attempt: int) -> float:
    """Seconds before a retry, from 0; the same each time it is asked.

    >>> waits = [Patience(base=1).wait("key", n) for n in (0, 1, 9)]
    >>> [0.5 <= waits[0] <= 1, 1 <= waits[1] <= 2, waits[2] <= 120]
    [True, True, True]
    """
    drawn = hashlib.sha256(f"{self.seed}/{attempt}/{key}".encode()).digest()
    part = int.from_bytes(drawn[:4]) / 2**32
    return min(self.base * 2.0**attempt, self.longest) * (1 - part / 2)


class Client:
  """Makes calls; may be shared by threads.

  Attributes:
    calls: made so far, retries included.
    retried: those of them that were retries.
  """

  def __init__(
    self,
    url: str,
    key: str | None,
    patience: Patience,
    *,
    max_calls: int | None = None,
    local: bool = False,
    who: str = "the judge",
    kept: bool = True,
    read: Callable[[Any], Answer | None] = chat.read,
    largest: int = LARGEST,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Calls nothing yet.

    Args:
      url: that is called.
      key: sent as a bearer token, and kept out of everything else; or None.
      patience: timeouts and retries.
      max_calls: calls that may be made; None for any number.
      local: on this machine, so that no proxy is asked.
      who: asks, in sentences.
      kept: whether answers are, so that sentences say so.
      read: takes the JSON of an answer of status 200; None = it is none. May
        raise `UserError` where no other call can bring a better one.
      largest: bytes of an answer.
      clock: seconds, as `time.monotonic`.
    """
    self._url, self._key, self._patience = url, key, patience
    self._max_calls, self._clock = max_calls, clock
    self._who, self._reader, self._largest = who, read, largest
    self._kept = " Answers so far are kept" if kept else ""
    self._lock, self._halt = threading.Lock(), threading.Event()
    self._not_before = 0.0
    self.calls = self.retried = 0
    # Of a header that cannot be sent, the client's own error would quote it.
    if key is not None and not re.fullmatch(r"[!-~]+", key):
      raise UserError(
        f"{who}'s key holds a character that no key has; see that the "
        "environment variable has the key alone"
      )
    self._http = httpx2.Client(
      headers={} if key is None else {"Authorization": f"Bearer {key}"},
      timeout=patience.timeout,
      follow_redirects=False,  # the key would go along
      trust_env=not local,
    )

  def __repr__(self) -> str:
    return f"Client({self._url!r})"

  def begin(self) -> None:
    """Lets threads call again after `halt`."""
    self._halt.clear()

  def halt(self) -> None:
    """Ends the waits of all threads; they raise `Halted`."""
    self._halt.set()

  def close(self) -> None:
    """Closes the connections."""
    self._http.close()

  def ask(self, body: dict[str, Any]) -> Answer:
    """One answer, after as many calls as it takes.

    Args:
      body: of the request, JSON.

    Raises:
      Failed: if there was none.
      Capped: if a call would be one too many.
      Halted: see `halt`.
      UserError: if the endpoint says that no further call can go well.
    """
    name = json.dumps(body, sort_keys=True)
    reason = ""
    for attempt in range(self._patience.retries + 1):
      if attempt:
        self._pause(self._patience.wait(name, attempt - 1))
      self._pause(self._not_before - self._clock())
      self._count(attempt)
      try:
        status, headers, content = self._post(body)
      except (httpx2.TransportError, httpx2.DecodingError) as error:
        reason = f"{type(error).__name__}: {error}"
        continue
      except httpx2.InvalidURL as error:
        raise UserError(f"{self._url} is no URL: {error}") from None
      found = self._read(status, content)
      if isinstance(found, Answer):
        return found
      reason = found
      self._heed(headers.get("retry-after"), reason)
    raise Failed(self._clean(reason))

  def _count(self, attempt: int) -> None:
    with self._lock:
      if self._max_calls is not None and self.calls >= self._max_calls:
        raise Capped
      self.calls += 1
      self.retried += attempt > 0

  def _pause(self, seconds: float) -> None:
    """Waits, unless all is to end."""
    if self._halt.wait(max(seconds, 0.0)):
      raise Halted

  def _post(self, body: dict[str, Any]) -> tuple[int, httpx2.Headers, bytes]:
    """The answer's status, headers and content, in the time there is."""
    deadline = self._clock() + self._patience.timeout
    content = bytearray()
    with self._http.stream("POST", self._url, json=body) as response:
      for piece in response.iter_bytes():
        content += piece
        # The client's own limit is between two pieces.
        if self._clock() > deadline:
          raise httpx2.ReadTimeout("the answer took too long")
        if len(content) > self._largest:
          raise httpx2.ReadError(
            f"the answer is longer than {self._largest:,} bytes"
          )
      return response.status_code, response.headers, bytes(content)

  def _read(self, status: int, content: bytes) -> Answer | str:
    """The answer, or why another call may get one.

    Raises:
      UserError: where none can.
    """
    try:
      parsed = json.loads(content)
    except (ValueError, RecursionError):
      parsed = None
    code = _code(parsed)
    if status == 200:
      answer = self._reader(parsed)
      if answer is not None and self._key:
        text = answer.text.replace(self._key, "***")
        answer = dataclasses.replace(answer, text=text)
      return answer or "HTTP 200 without a completion"
    if status == 400 and code in _FILTERED:
      return Answer("", True, 0, 0)
    said = f"HTTP {status}" + (f" ({code})" if code else "")
    final = code == "insufficient_quota"
    if (status in _RETRIED or status >= 500) and not final:
      return said
    # What it says of a key may quote the key, so it is not passed on.
    quoted = ""
    if status not in (401, 403):
      quoted = f": {printable(self._clean(_message(parsed), 200))}"
    raise UserError(
      f"{self._who} at {self._url} answered {self._clean(said)}{quoted}; see "
      f"its URL, model, key and quota.{self._kept}".rstrip(".")
    )

  def _heed(self, asked: str | None, reason: str) -> None:
    """Puts off the calls of all threads, as `Retry-After` asks."""
    seconds = _seconds(asked)
    if seconds is None:
      return
    if seconds > self._patience.longest:
      raise Failed(
        f"{self._clean(reason)}, with the wish to wait {seconds:.0f} s, more "
        f"than {self._patience.longest:.0f} s"
      )
    with self._lock:
      self._not_before = max(self._not_before, self._clock() + seconds)

  def _clean(self, text: str, longest: int = 400) -> str:
    """Text without the key, in case that someone quotes it; then cut."""
    text = " ".join(text.split())
    return (text.replace(self._key, "***") if self._key else text)[:longest]


def _code(parsed: Any) -> str:
  error = parsed.get("error") if isinstance(parsed, dict) else None
  code = error.get("code") if isinstance(error, dict) else None
  return code if isinstance(code, str) else ""


def _message(parsed: Any) -> str:
  error = parsed.get("error") if isinstance(parsed, dict) else None
  text = error.get("message") if isinstance(error, dict) else error
  return str(text) if text else "without saying why"


def _seconds(asked: str | None) -> float | None:
  """What a Retry-After header asks for: seconds, or a date."""
  if asked is None:
    return None
  try:
    return max(float(asked), 0.0)
  except ValueError:
    pass
  try:
    when = email.utils.parsedate_to_datetime(asked)
    return max(when.timestamp() - time.time(), 0.0)
  except (ValueError, TypeError, OverflowError):
    return None
