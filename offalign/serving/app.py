"""The web application: chat completions, models and health.

One completion is made at a time, in a thread of its own; others wait in line,
and past a number of them are told to come again. A client that leaves ends
its completion at the next piece.
"""

import asyncio
import contextlib
import json
import queue
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from offalign.errors import UserError, printable
from offalign.generation.streaming import Piece
from offalign.serving import requests
from offalign.serving.requests import Request
from offalign.serving.stops import Stops

MOST_BYTES = 1_000_000
"""Of a request's body."""
MOST_WAITING = 64
"""Completions that wait for their turn."""
_SECONDS = 0.2  # between two looks whether a client is there


class Completer(Protocol):
  """Streams completions: `offalign.serving.completer` of a policy."""

  def start(self, request: Request) -> tuple[int, Iterator[Piece]]:
    """Encodes a request's prompt.

    Returns:
      Tokens of the prompt, and the pieces of its completion.

    Raises:
      UserError: for a prompt that cannot be encoded, or an option out of
        range.
    """


class _Error(Exception):
  def __init__(self, status: int, sentence: str):
    super().__init__(sentence)
    self.status = status


class _Chunk(NamedTuple):
  """Text to send, and what is known at the end.

  Attributes:
    text: to send now.
    reason: None, or why the completion ended: "stop" or "length".
    tokens: of the completion so far.
  """

  text: str
  reason: str | None
  tokens: int


def make(completer: Completer, name: str) -> Starlette:
  """Makes the application.

  Args:
    completer: makes the completions.
    name: of the model, as clients are told.
  """
  turns = _Turns(completer)
  started = int(time.time())

  async def health(_: HttpRequest) -> Response:
    return JSONResponse({"status": "ok", "waiting": turns.waiting})

  async def models(_: HttpRequest) -> Response:
    about = {"id": name, "object": "model", "created": started}
    about["owned_by"] = "offalign"
    return JSONResponse({"object": "list", "data": [about]})

  async def chat(http: HttpRequest) -> Response:
    try:
      asked = requests.read(await _body(http))
    except UserError as error:
      return _refusal(400, str(error))
    except _Error as error:
      return _refusal(error.status, str(error))
    except ClientDisconnect:
      return Response(status_code=499)
    try:
      turn = turns.enter(asked)
    except _Error as error:
      return _refusal(error.status, str(error))
    if asked.stream:
      return await _streamed(http, turn, name)
    return await _whole(http, turn, name)

  return Starlette(
    routes=[
      Route("/health", health),
      Route("/v1/models", models),
      Route("/v1/chat/completions", chat, methods=["POST"]),
    ]
  )


async def _body(http: HttpRequest) -> bytes:
  """Reads a body of JSON, up to a number of bytes."""
  kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
  if kind != "application/json":
    # A page in a browser can send other kinds without asking.
    raise _Error(415, "the content type must be application/json")
  parts, size = [], 0
  async for part in http.stream():
    size += len(part)
    if size > MOST_BYTES:
      raise _Error(413, f"the body is larger than {MOST_BYTES:,} bytes")
    parts.append(part)
  return b"".join(parts)


def _refusal(status: int, sentence: str) -> JSONResponse:
  kind = "invalid_request_error" if status < 500 else "server_error"
  error = {"message": printable(sentence), "type": kind}
  return JSONResponse(
    {"error": error | {"param": None, "code": None}}, status_code=status
  )


class _Turn:
  """A completion in line: its chunks go from a thread to the event loop."""

  def __init__(self, asked: Request):
    self.asked = asked
    self.prompt_tokens = 0
    self.left = threading.Event()  # the client has gone
    self._loop = asyncio.get_running_loop()
    self._out: asyncio.Queue[_Chunk | Exception] = asyncio.Queue()

  def put(self, found: _Chunk | Exception) -> None:
    """Called in the thread that completes."""
    with contextlib.suppress(RuntimeError):  # the server has ended
      self._loop.call_soon_threadsafe(self._out.put_nowait, found)

  async def chunks(self) -> AsyncIterator[_Chunk]:
    """Yields chunks; the last has a reason.

    Raises:
      _Error: where the completion cannot be made.
    """
    while True:
      found = await self._out.get()
      if isinstance(found, Exception):
        raise found
      yield found
      if found.reason is not None:
        return


class _Turns:
  """The line of completions, and the thread that makes them."""

  def __init__(self, completer: Completer):
    self._completer = completer
    self._line: queue.Queue[_Turn] = queue.Queue(MOST_WAITING)
    threading.Thread(target=self._work, daemon=True).start()

  @property
  def waiting(self) -> int:
    return self._line.qsize()

  def enter(self, asked: Request) -> _Turn:
    turn = _Turn(asked)
    try:
      self._line.put_nowait(turn)
    except queue.Full:
      raise _Error(
        429, f"{MOST_WAITING} completions are waiting already; try again later"
      ) from None
    return turn

  def _work(self) -> None:
    while True:
      turn = self._line.get()
      if turn.left.is_set():
        continue
      try:
        self._complete(turn)
      except UserError as error:
        turn.put(_Error(400, str(error)))
      except Exception as error:  # the next client is to be served all the same
        turn.put(_Error(500, f"the completion failed: {type(error).__name__}"))

  def _complete(self, turn: _Turn) -> None:
    turn.prompt_tokens, pieces = self._completer.start(turn.asked)
    stops = Stops(turn.asked.stop)
    for piece in pieces:
      if turn.left.is_set():
        return
      text = stops.add(piece.text, last=piece.finished is not None)
      reason = None
      if stops.found or piece.finished:
        reason = "stop"
      elif piece.finished is False:
        reason = "length"
      turn.put(_Chunk(text, reason, piece.tokens))
      if reason is not None:
        return


def _usage(turn: _Turn, tokens: int) -> dict[str, int]:
  return {
    "prompt_tokens": turn.prompt_tokens,
    "completion_tokens": tokens,
    "total_tokens": turn.prompt_tokens + tokens,
  }


@contextlib.asynccontextmanager
async def _watched(http: HttpRequest, turn: _Turn) -> AsyncIterator[None]:
  """Ends a completion where its client leaves before there is an answer."""

  async def watch() -> None:
    while not await http.is_disconnected():
      await asyncio.sleep(_SECONDS)
    turn.left.set()
    turn.put(_Error(499, "the client has left"))

  watching = asyncio.create_task(watch())
  try:
    yield
  except BaseException:
    turn.left.set()
    raise
  finally:
    watching.cancel()


async def _whole(http: HttpRequest, turn: _Turn, name: str) -> Response:
  """Answers with the whole completion."""
  texts = []
  last = _Chunk("", "length", 0)
  try:
    async with _watched(http, turn):
      async for chunk in turn.chunks():
        texts.append(chunk.text)
        last = chunk
  except _Error as error:
    return _refusal(error.status, str(error))
  message = {"role": "assistant", "content": "".join(texts)}
  choice = {"index": 0, "message": message, "finish_reason": last.reason}
  return JSONResponse(
    _about(name, "chat.completion")
    | {"choices": [choice | {"logprobs": None}]}
    | {"usage": _usage(turn, last.tokens)}
  )


def _about(name: str, kind: str) -> dict[str, Any]:
  return {
    "id": f"chatcmpl-{uuid.uuid4().hex}",
    "object": kind,
    "created": int(time.time()),
    "model": name,
  }


async def _streamed(http: HttpRequest, turn: _Turn, name: str) -> Response:
  """Answers with events, one a chunk."""
  chunks = turn.chunks()
  # What is wrong with a request is known before the first chunk, and is then
  # an answer with a status of its own.
  try:
    async with _watched(http, turn):
      first = await anext(chunks)
  except _Error as error:
    return _refusal(error.status, str(error))
  about = _about(name, "chat.completion.chunk")

  def event(**more: Any) -> str:
    return f"data: {json.dumps(about | more)}\n\n"

  def delta(chunk: _Chunk, **more: Any) -> str:
    content = more | ({"content": chunk.text} if chunk.text else {})
    choice = {"index": 0, "delta": content, "finish_reason": chunk.reason}
    return event(choices=[choice])

  async def events() -> AsyncIterator[str]:
    last = first
    try:
      yield delta(first, role="assistant")
      async for chunk in chunks:
        last = chunk
        yield delta(chunk)
      if turn.asked.usage:
        yield event(choices=[], usage=_usage(turn, last.tokens))
      yield "data: [DONE]\n\n"
    except _Error as error:
      with contextlib.suppress(Exception):
        yield event(error={"message": printable(str(error))})
    finally:
      turn.left.set()

  return StreamingResponse(events(), media_type="text/event-stream")
