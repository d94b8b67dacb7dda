"""A local endpoint that misbehaves as it is told to."""

import collections
import contextlib
import http.server
import json
import re
import socket
import struct
import threading

_PLACES = re.compile(
  r"Instruction: (.*)\n\nresponse A \(left\): (.*)\n\nresponse B \(right\): "
  r"(.*?)(?:\n\nWhich response|$)",
  re.DOTALL,
)

_RATED = re.compile(
  r"Instruction: (.*)\n\nResponse: (.*)\n\nAnswer with", re.DOTALL
)


def longer(prompt, left, right):
  """A judge's answer: the longer text is better."""
  if len(left) == len(right):
    return "C"
  return "A" if len(left) > len(right) else "B"


class Endpoint(http.server.ThreadingHTTPServer):
  """Answers chat completions.

  Attributes:
    plan: for each prompt, what to do in place of an answer, in order; each is
      a callable of the handler, or a text to answer with.
    judge: (prompt, left, right) -> text, once the plan is used up.
    rate: (prompt, completion) -> text, of a rubric's question.
    seen: (prompt, left, right) of each call, or (prompt, completion).
    headers_seen: of each call.
  """

  daemon_threads = True

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.plan = collections.defaultdict(list)
    self.judge = longer
    self.rate = lambda prompt, text: str(min(len(text), 10))
    self.seen, self.headers_seen, self.bodies = [], [], []
    self.lock = threading.Lock()
    self.release = threading.Event()

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}/v1"

  def spec(self, **options):
    """What a judge is spelled as."""
    given = {"url": self.url, "model": "m"} | options
    return f"endpoint({', '.join(f'{k}={v!r}' for k, v in given.items())})"

  def handle_error(self, request, client_address):
    """Says nothing of clients that have gone."""


@contextlib.contextmanager
def running():
  with Endpoint() as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield server
    finally:
      server.release.set()
      server.shutdown()
      thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
  def log_message(self, *args):
    pass

  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    asked, server = body["messages"][0]["content"], self.server
    rated = _RATED.search(asked)
    texts = (rated or _PLACES.search(asked)).groups()
    usual = server.rate if rated else server.judge
    with server.lock:
      server.seen.append(texts)
      server.headers_seen.append(dict(self.headers))
      server.bodies.append(body)
      planned = server.plan[texts[0]]
      act = planned.pop(0) if planned else usual(*texts)
    if callable(act):
      act(self)
    else:
      answer(act)(self)

  def send(self, status, content, **headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace("_", "-"), value)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content)


def answer(text, **message):
  """A chat completion."""
  choice = {"message": {"content": text, **message}, "finish_reason": "stop"}
  usage = {"prompt_tokens": 7, "completion_tokens": 1}
  content = json.dumps({"choices": [choice], "usage": usage}).encode()
  return lambda handler: handler.send(200, content)


def filtered(handler):
  choice = {"message": {"content": None}, "finish_reason": "content_filter"}
  handler.send(200, json.dumps({"choices": [choice]}).encode())


def status(number, code=None, message="no", **headers):
  content = json.dumps({"error": {"message": message, "code": code}}).encode()
  return lambda handler: handler.send(number, content, **headers)


def raw(content):
  """HTTP 200 with something else."""
  return lambda handler: handler.send(200, content)


def slow(handler):
  """Nothing until the test ends."""
  handler.server.release.wait(10)


def trickle(handler):
  """A byte now and then, so that each read is in time."""
  handler.send_response(200)
  handler.send_header("Content-Length", "1000")
  handler.end_headers()
  while not handler.server.release.wait(0.02):
    handler.wfile.write(b" ")
    handler.wfile.flush()


def reset(handler):
  """The connection is reset."""
  handler.connection.setsockopt(
    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
  )
  handler.connection.close()
