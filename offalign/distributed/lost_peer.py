"""One readable sentence in place of JAX's C++ page when a peer process dies.

Runs as a child process on the stderr of a training process. It passes
everything on except what jax's runtime writes when another process is lost,
a page of C++, which it replaces by one sentence. Needs the standard library
alone.
"""

import re
import signal
import sys

_RUNTIME = re.compile(
  rb"[WEF]\d{4} .*(coordination_service|preemption_sync_manager|client\.h)"
)
_FATAL = b"Terminating process because the JAX distributed service"
_GONE = re.compile(
  rb"stopped sending heartbeats\):\s*\n((?:\S*\d+\s*\n)+)", re.MULTILINE
)
_NOISE = b"[Gloo] Rank "  # says that all are connected


def explain(said: bytes, processes: int, timeout: int) -> str | None:
  """Explains the runtime's lines in a sentence; None if no process was lost.

  Args:
    said: lines that jax's runtime wrote.
    processes: how many processes there were.
    timeout: seconds of silence after which a process counts as gone.
  """
  if _FATAL not in said:
    return None
  found = _GONE.search(said)
  if found:
    numbers = sorted({int(n) for n in re.findall(rb"(\d+)\s*\n", found[1])})
    names = " and ".join(str(n) for n in numbers)
    who = f"process {names} of {processes} has gone, silent for {timeout} s"
  elif b"leader task" in said:
    who = f"process 0 of {processes} has gone, or cannot be reached"
  else:
    who = f"one of the {processes} processes has gone"
  return (
    f"offalign.train: {who} (its own log may say why), so all end. Start all "
    "again with the same flags: the run goes on from its newest checkpoint."
  )


def main() -> None:
  """Copies stdin to stderr until stdin ends, explaining a lost peer."""
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)  # it ends when its process does
  processes, timeout = int(sys.argv[1]), int(sys.argv[2])
  out, held = sys.stderr.buffer, b""
  for line in sys.stdin.buffer:
    if held or _RUNTIME.match(line):
      held += line  # until it is known whether the process ended
    elif not line.startswith(_NOISE):
      out.write(line)
      out.flush()
  sentence = explain(held, processes, timeout)
  out.write(held if sentence is None else sentence.encode() + b"\n")
  out.flush()


if __name__ == "__main__":
  main()
