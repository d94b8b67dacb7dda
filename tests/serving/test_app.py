"""The server, as OpenAI's own client meets it."""

import contextlib
import http.client
import json
import socket
import threading
import time

import openai
import pytest
import uvicorn

from offalign.errors import UserError
from offalign.generation.streaming import Piece
from offalign.serving import app

WORDS = ["I ", "say ", "what ", "is ", "so."]
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hi"}]


class Echo:
  """Says its words, waits where it is told to, and counts."""

  def __init__(self):
    self.gate = threading.Event()
    self.gate.set()
    self.entered = threading.Event()
    self.made = 0

  def start(self, request):
    content = request.prompt[-1].content
    if content == "refuse":
      raise UserError("this prompt cannot be encoded")
    if content == "break":
      raise RuntimeError("a secret")
    return 7, self._pieces(request)

  def _pieces(self, request):
    most = request.max_new_tokens or len(WORDS)
    self.entered.set()
    for i, word in enumerate(WORDS[:most], 1):
      self.gate.wait(20)
      self.made += 1
      ended = i == len(WORDS)
      cut = i == most
      yield Piece(word, i, True if ended else False if cut else None)


@contextlib.contextmanager
def serving(completer):
  config = uvicorn.Config(app.make(completer, "mine"), log_level="error")
  server = uvicorn.Server(config)
  with socket.socket() as bound:
    bound.bind(("127.0.0.1", 0))
    thread = threading.Thread(
      target=server.run, kwargs={"sockets": [bound]}, daemon=True
    )
    thread.start()
    while not server.started:
      time.sleep(0.01)
    yield bound.getsockname()[1]
    completer.gate.set()
    server.should_exit = True
    thread.join(20)
  assert not thread.is_alive()


@pytest.fixture
def echo():
  return Echo()


@pytest.fixture
def port(echo):
  with serving(echo) as port:
    yield port


@pytest.fixture
def client(port):
  return openai.OpenAI(
    base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
  )


def ask(client, **options):
  options = {"model": "mine", "messages": MESSAGES} | options
  return client.chat.completions.create(**options)


def post(port, body, kind="application/json"):
  with contextlib.closing(
    http.client.HTTPConnection("127.0.0.1", port, timeout=20)
  ) as link:
    link.request("POST", CHAT, body, {"Content-Type": kind})
    answer = link.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_completion(client):
  found = ask(client)
  (choice,) = found.choices
  assert choice.message.content == "".join(WORDS)
  assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
  assert (found.model, found.usage.prompt_tokens) == ("mine", 7)
  assert found.usage.completion_tokens == len(WORDS)
  assert found.usage.total_tokens == 7 + len(WORDS)


def test_a_completion_that_is_cut(client):
  (choice,) = ask(client, max_tokens=2).choices
  assert (choice.message.content, choice.finish_reason) == ("I say ", "length")


def test_a_stream(client):
  chunks = list(
    ask(client, stream=True, stream_options={"include_usage": True})
  )
  *parts, usage = chunks
  texts = [part.choices[0].delta.content or "" for part in parts]
  assert texts == WORDS
  assert parts[0].choices[0].delta.role == "assistant"
  reasons = [part.choices[0].finish_reason for part in parts]
  assert reasons == [None] * (len(WORDS) - 1) + ["stop"]
  assert usage.usage.completion_tokens == len(WORDS)
  assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_is_not_shown(client, stream):
  found = ask(client, stop=["what"], stream=stream)
  if stream:
    text = "".join(part.choices[0].delta.content or "" for part in found)
  else:
    text = found.choices[0].message.content
  assert text == "I say "


def test_models_and_health(client, port):
  (model,) = client.models.list().data
  assert model.id == "mine"
  with contextlib.closing(
    http.client.HTTPConnection("127.0.0.1", port, timeout=20)
  ) as link:
    link.request("GET", "/health")
    answer = link.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read()) == {"status": "ok", "waiting": 0}


@pytest.mark.parametrize("stream", [False, True])
def test_mistakes_are_sentences(client, stream):
  refused = [{"role": "user", "content": "refuse"}]
  with pytest.raises(openai.BadRequestError, match="cannot be encoded"):
    ask(client, messages=refused, stream=stream)
  with pytest.raises(openai.BadRequestError, match="'logprobs' is not served"):
    ask(client, logprobs=True, stream=stream)
  broken = [{"role": "user", "content": "break"}]
  with pytest.raises(openai.InternalServerError) as error:
    ask(client, messages=broken, stream=stream)
  assert "RuntimeError" in str(error.value)
  assert "secret" not in str(error.value)
  # The next is served all the same.
  assert ask(client).choices[0].message.content == "".join(WORDS)


def test_a_body_that_is_too_large(port):
  status, said = post(port, b" " * 10_000_000)
  assert status == 413
  assert said["error"]["message"] == "the body is larger than 1,000,000 bytes"


def test_what_a_page_could_send_unasked_is_refused(port):
  status, said = post(port, json.dumps({"messages": MESSAGES}), "text/plain")
  assert status == 415
  assert "must be application/json" in said["error"]["message"]
  assert post(port, b"{")[0] == 400


def test_many_at_once_are_served_or_told_to_come_again(client, echo):
  echo.gate.clear()
  found = []

  def one(i):
    try:
      made = ask(client, stream=bool(i % 2))
      if i % 2:
        text = "".join(part.choices[0].delta.content or "" for part in made)
      else:
        text = made.choices[0].message.content
      found.append(text)
    except openai.RateLimitError as error:
      found.append(str(error))

  n = app.MOST_WAITING + 20
  threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
  for thread in threads:
    thread.start()
  while len(found) < 19:  # those for whom the line is too long
    time.sleep(0.01)
  echo.gate.set()
  for thread in threads:
    thread.join(60)
  assert len(found) == n
  told = [text for text in found if "try again later" in text]
  assert len(told) in (19, 20)
  assert set(found) - set(told) == {"".join(WORDS)}


def test_a_client_that_leaves_ends_its_completion(port, client, echo):
  echo.gate.clear()
  with socket.create_connection(("127.0.0.1", port)) as link:
    body = json.dumps({"messages": MESSAGES, "stream": True}).encode()
    head = (
      f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      f"Content-Length: {len(body)}\r\n\r\n"
    )
    link.sendall(head.encode() + body)
    assert echo.entered.wait(20)
  time.sleep(0.5)  # until the server has seen it
  echo.gate.set()
  assert ask(client).choices[0].message.content == "".join(WORDS)
  assert echo.made < 2 * len(WORDS)
