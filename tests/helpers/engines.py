"""A local engine that speaks `POST /v1/completions`, and misbehaves if told."""

import contextlib
import http.server
import json
import threading
import zlib

FIRST = 6  # byte 0 of the tokenizer of bytes


def told(body, k, *, ids=True, logprobs=True, end=True):
  """Choice k of a request: "ab", or what the seed says, and its log-probs."""
  text = ["ab", "c", "d" * 99][(body["seed"] + k) % 3]
  text = text[: body["max_tokens"]]
  tokens = [FIRST + byte for byte in text.encode()]
  stops = len(tokens) < body["max_tokens"]
  if stops and end:
    tokens += body["stop_token_ids"][:1]
  choice = {
    "index": k,
    "text": text,
    "finish_reason": "stop" if stops else "length",
  }
  if logprobs:
    values = [-(1 + (t + k) % 4) / 4 for t in tokens]
    choice["logprobs"] = {
      "token_logprobs": values,
      "tokens": [chr(t % 128) for t in tokens],
    }
  if ids:
    choice["token_ids"] = tokens
  return choice


def answer(body, **how):
  """The answer to a request, its choices in an order of their own."""
  choices = [told(body, k, **how) for k in range(body["n"])]
  usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 9}
  return {"choices": choices[::-1], "usage": usage}


class Engine(http.server.ThreadingHTTPServer):
  """Answers completions.

  Attributes:
    reply: body -> JSON, or bytes.
    failures: HTTP statuses of the next calls, before any is answered.
    bodies: of each call that was answered.
    headers: of the calls.
  """

  daemon_threads = True

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.reply = answer
    self.failures, self.bodies, self.headers = [], [], []
    self.lock = threading.Lock()

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_port}/v1"

  def spec(self, **options):
    """What `--sampler` takes."""
    given = {"url": self.url, "model": "m"} | options
    return f"endpoint({', '.join(f'{k}={v!r}' for k, v in given.items())})"

  def handle_error(self, request, client_address):
    """Says nothing of clients that have gone."""


class _Handler(http.server.BaseHTTPRequestHandler):
  def log_message(self, *args):
    pass

  def do_POST(self):
    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
    server = self.server
    with server.lock:
      server.headers.append(dict(self.headers))
      status = server.failures.pop(0) if server.failures else 200
      if status == 200:
        server.bodies.append(body)
    if self.path != "/v1/completions":
      status = 404
    said = server.reply(body) if status == 200 else {"error": "\x1b[2J no"}
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    self.send_response(status)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content)


@contextlib.contextmanager
def running():
  with Engine() as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield server
    finally:
      server.shutdown()
      thread.join()


def seed_of(stream):
  """The seed that a request of a stream has."""
  return zlib.crc32(stream.encode()) % 2**30
