"""offalign chat --run=RUN

Talks with the policy of a run, or with a model folder. Answers appear as they
are sampled. An empty line is ignored, /reset forgets what was said, and /quit,
Ctrl-D or Ctrl-C ends; Ctrl-C in an answer ends that answer alone.

  echo "What is the capital of France?" | offalign chat --run=RUN

A policy of plain text, which has no chat template or was trained on plain text,
gets what you type as a prompt and forgets it.
"""

import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from absl import flags, logging

from offalign import user_code
from offalign.errors import UserError, printable, speaking
from offalign.generation.streaming import Piece
from offalign.policy.policy import Policy
from offalign.programs import flags as flags_lib

_PROMPT = "> "


def talk(
  policy: Policy,
  lines: TextIO,
  out: TextIO,
  *,
  system: str | None = None,
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  top_k: int | None = None,
  top_p: float | None = None,
  seed: int = 0,
) -> None:
  """Answers line by line until the lines end.

  Args:
    policy: whom to talk with.
    lines: what is typed.
    out: where answers go.
    system: a system message before all others.
    max_new_tokens: of an answer, see `Policy.generate`.
    temperature: of the sampling.
    top_k: see `Policy.stream`.
    top_p: see `Policy.stream`.
    seed: of the first answer; each has random numbers of its own.

  Raises:
    UserError: where the policy has no chat template and `system` is given, or
      an answer cannot be made.
  """
  chats = policy.chats
  if system is not None and not chats:
    raise UserError(
      "--system is set, but this policy has no chat template, or was trained "
      "on plain text: it completes plain text; leave it out"
    )
  first = [] if system is None else [("system", system)]
  said = list(first)
  shows = lines.isatty()
  while True:
    if shows:
      print(_PROMPT, end="", file=out, flush=True)
    line = lines.readline()
    text = line.strip()
    if not line or text == "/quit":
      return
    if text == "/reset":
      said = list(first)
      continue
    if not text:
      continue
    said.append(("user", text))
    answer = _show(
      policy.stream(
        tuple(said) if chats else text,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
      ).pieces,
      out,
    )
    said.append(("assistant", answer))
    seed += 1


def _show(pieces: Iterator[Piece], out: TextIO) -> str:
  """Prints an answer as it comes, up to where it ends or is broken off."""
  texts = []
  note = ""
  try:
    for piece in pieces:
      print(printable(piece.text), end="", file=out, flush=True)
      texts.append(piece.text)
      if piece.finished is False:
        note = f" [cut at {piece.tokens} tokens: --max_new_tokens]"
  except KeyboardInterrupt:
    note = " [broken off]"
  print(note, file=out, flush=True)
  return "".join(texts)


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Talks; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  # Ctrl-C ends an answer, or the talk, and is no signal to stop at once.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    flags_lib.require(argv, ("run",), "--run")
    user_code.load_all(values.imports)
    policy = Policy.load(values.run, values.step)
    talk(
      policy,
      sys.stdin,
      sys.stdout,
      system=values.system,
      max_new_tokens=values.max_new_tokens,
      temperature=values.temperature,
      top_k=values.top_k,
      top_p=values.top_p,
      seed=values.seed,
    )
  except UserError as error:
    flags_lib.complain("offalign.chat", error)
    return 2
  except KeyboardInterrupt:
    print()
  return 0


def _flags() -> None:
  flags_lib.define_policy()
  flags_lib.define_drawing()
  flags.DEFINE_string("system", None, "a system message before all others")


def run() -> None:
  """Starts the program."""
  flags_lib.start("chat", main, __doc__, _flags)
