"""Ctrl-C: a program says one sentence and ends with the status 130.

A program listens from before it imports jax. As long as there is nothing to
save, the first Ctrl-C ends the process there and then; while a run holds steps
that are not saved (`noting`), it is only noted, as SIGTERM is, and the second
one ends. Both are seen by a thread, so that neither a compilation nor an import
delays them, and no exception is raised in the middle of one. The process leaves
by `os._exit`, since the threads of jax's runtime may crash an interpreter that
they outlive.

`import offalign` listens where the process was started as a program. Python
users get KeyboardInterrupt, as ever. Needs the standard library alone.
"""

import atexit
import contextlib
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STATUS = 130
"""The exit status of a program that was interrupted: 128 + SIGINT."""

PATIENCE = 1.0
"""Seconds after which a noted Ctrl-C is answered, if the process goes on."""

_program: str | None = None
_lost = "nothing is lost"
_note: Callable[[], None] | None = None
_count = 0


def listen(program: str, lost: str | None = None) -> None:
  """Ends this process by a sentence on Ctrl-C, from now on.

  Does nothing where Ctrl-C is ignored (a job of a shell in the background) or
  handled by another, or outside the main thread.

  Args:
    program: begins the sentence.
    lost: ends it: what became of what the program was making.
  """
  global _program
  tell(lost)
  if _program is not None:
    _program = program
    return
  if threading.current_thread() is not threading.main_thread():
    return
  if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
    return
  _program = program
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  signal.signal(signal.SIGINT, _seen)
  # Once the interpreter takes itself down, no thread of Python sees a signal.
  atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
  threading.Thread(target=_watch, args=(reader,), daemon=True).start()


def started_as() -> str | None:
  """The name of the program that this process is.

  It is started as `python -m offalign.NAME`, `python -m offalign`, or by a
  script that was installed as offalign-NAME or offalign.

  Returns:
    NAME; "" where it is yet to be named; None where it is none of offalign's.
  """
  place = pathlib.Path(sys.argv[0] if sys.argv else "")
  name = place.name.removesuffix(".exe").replace("-", ".")
  spec = getattr(sys.modules["__main__"], "__spec__", None)
  if spec is not None:
    name = spec.name
  elif place.name == "-m":  # a package on the way to the module
    words = iter(sys.orig_argv[1:])
    word = next((word for word in words if word.startswith("-m")), "")
    name = word[2:] or next(words, "")
  first, _, rest = name.partition(".")
  if first != "offalign" or rest == "py":
    return None
  program = rest.partition(".")[0]
  return "" if program == "__main__" else program


def listen_as_program() -> None:
  """Listens where this process was started as a program; else does nothing."""
  name = started_as()
  if name is not None:
    listen(f"offalign.{name}" if name else "offalign")


def tell(lost: str | None) -> None:
  """Says what the sentence ends with, where the process ends at once."""
  global _lost
  _lost = lost or _lost


def listens() -> bool:
  """Whether this process is a program that listens."""
  return _program is not None


@contextlib.contextmanager
def noting(note: Callable[[], None] | None) -> Iterator[None]:
  """While this is entered, the first Ctrl-C calls `note` and ends nothing.

  Args:
    note: is called in another thread; None = Ctrl-C ends the process at once,
      even within another `noting`.
  """
  global _note
  before, _note = _note, note
  try:
    yield
  finally:
    _note = before


def leave(status: int) -> None:
  """Ends the process if it was interrupted, by `os._exit`; else returns.

  Args:
    status: the exit status that the program came to.
  """
  if listens() and status == STATUS:
    _flush()
    os._exit(status)


def _seen(number: int, frame: FrameType | None) -> None:
  """Python's handler: keeps KeyboardInterrupt away; the thread does all."""


def _watch(reader: int) -> None:
  """Reads the numbers of the signals that come, as they come."""
  while True:
    for number in os.read(reader, 64):
      if number == signal.SIGINT and _is_ours():
        _interrupt()


def _is_ours() -> bool:
  return signal.getsignal(signal.SIGINT) is _seen


def _interrupt() -> None:
  """What a Ctrl-C does."""
  global _count
  _count += 1
  if _count == 1 and _note is not None:
    _note()
    answer = threading.Timer(PATIENCE, _answer)
    answer.daemon = True
    answer.start()
    return
  again = "interrupted again: what was not saved yet is lost, and the same "
  again += "command goes on from what is"
  _say(again if _count > 1 else f"interrupted: {_lost}")
  _flush()
  os._exit(STATUS)


def _answer() -> None:
  _say(
    "interrupted: what is going on is brought to its end and kept; Ctrl-C "
    "again ends at once"
  )


def _say(sentence: str) -> None:
  """Writes a line to stderr, below a progress bar if there is one."""
  begin = "\n" if os.isatty(2) else ""
  with contextlib.suppress(OSError):
    os.write(2, f"{begin}{_program}: {sentence}\n".encode())


def _flush() -> None:
  """Flushes what was printed; gives up where the main thread is in the way."""

  def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(Exception):
        stream.flush()

  thread = threading.Thread(target=flush, daemon=True)
  thread.start()
  thread.join(1.0)
