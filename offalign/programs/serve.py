"""offalign serve --run=RUN

Serves the policy of a run, or a model folder, as OpenAI's chat completions do:
POST /v1/chat/completions (also streamed), GET /v1/models, GET /health.

  client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")

It listens on this machine alone, unless --host names another address; it asks
for no key, so put a proxy that does in front of it before others can reach it.
Needs the extra `offalign[serve]`.
"""

import pathlib
import socket
from collections.abc import Sequence

from absl import flags, logging

from offalign import user_code
from offalign.errors import UserError, speaking
from offalign.policy.policy import Policy
from offalign.programs import flags as flags_lib

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def listen(host: str, port: int) -> socket.socket:
  """Opens the socket, so that a port in use is a sentence.

  Args:
    host: an address or a name.
    port: 0 takes any that is free.

  Raises:
    UserError: where it cannot be opened.
  """
  try:
    if port > 65_535:
      raise OverflowError("ports end at 65535")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
  except (OSError, OverflowError) as error:
    raise UserError(
      f"--host={host} --port={port} cannot be listened on: {error}"
    ) from None
  return made


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Serves until it is stopped; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    flags_lib.require(argv, ("run",), "--run")
    try:
      import uvicorn

      from offalign.serving import app
      from offalign.serving.completer import PolicyCompleter
    except ImportError as error:
      raise UserError(
        f"serving needs {error.name}: pip install 'offalign[serve]'"
      ) from None
    user_code.load_all(values.imports)
    policy = Policy.load(values.run, values.step)
    if not policy.tokenizer.chats:
      raise UserError(
        f"{values.run} has no chat template, so a conversation cannot be "
        "written for it; `offalign generate` completes plain text"
      )
    completer = PolicyCompleter(policy, values.max_new_tokens)
    bound = listen(values.host, values.port)
    name = pathlib.Path(values.run).name
    completer.warm_up()
  except UserError as error:
    flags_lib.complain("offalign.serve", error)
    return 2
  host, port = bound.getsockname()[:2]
  where = f"[{host}]" if ":" in host else host
  flags_lib.say(f"serving {name} on http://{where}:{port}/v1")
  if values.host not in _LOOPBACK:
    flags_lib.say(
      "note: whoever reaches this address can use it; no key is asked for"
    )
  config = uvicorn.Config(
    app.make(completer, name),
    log_level="warning",
  )
  with bound:
    uvicorn.Server(config).run(sockets=[bound])
  return 0


def _flags() -> None:
  flags_lib.define_policy()
  flags.DEFINE_string("host", "127.0.0.1", "address to listen on")
  flags.DEFINE_integer(
    "port", 8000, "port to listen on; 0 takes a free one", lower_bound=0
  )


def run() -> None:
  """Starts the program."""
  flags_lib.start("serve", main, __doc__, _flags)
