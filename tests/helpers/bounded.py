"""Calls of a reader in a child process, under limits of time and memory."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import pickle
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import xla_flags

SECONDS = 60
"""The child is killed after as long, and what it read counts as a hang."""

MIB = 1024
"""The most memory that a child may have held, in MiB."""

_SPACE = 3 << 30  # bytes of addresses that a read may add; spares the machine


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of a read.

  Attributes:
    kind: "accepted", "refused" or "fault".
    text: the sentence of a refusal; the traceback of a fault.
    where: tells faults apart: the exception and the place of ours.
    seconds: that it took.
    mib: the most memory that the child held meanwhile.
  """

  kind: str
  text: str = ""
  where: str = ""
  seconds: float = 0.0
  mib: float = 0.0


class Child:
  """A process that reads folder after folder, and is replaced where it dies."""

  def __init__(self, module):
    """Starts nothing yet.

    Args:
      module: name of the module whose READERS are called.
    """
    self._module, self._process = module, None

  def __enter__(self):
    return self

  def __exit__(self, *error):
    self._end()

  def read(self, reader, files):
    """Calls a reader by its name with files: name -> bytes."""
    if self._process is None:
      self._start()
    try:
      pickle.dump((reader, files), self._to)
      self._to.flush()
      ready, _, _ = select.select([self._from], [], [], SECONDS)
      if ready:
        return pickle.load(self._from)
      why = f"no answer in {SECONDS} seconds"
    except (BrokenPipeError, EOFError):
      why = "the process died"
    self._end()
    return Outcome("fault", why, why, SECONDS)

  def _start(self):
    child_in, to = os.pipe()
    come, child_out = os.pipe()
    path = os.pathsep.join(filter(None, sys.path))
    env = xla_flags.environment()
    env |= {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}
    self._process = subprocess.Popen(
      [
        sys.executable,
        "-m",
        "bounded",
        self._module,
        str(child_in),
        str(child_out),
      ],
      pass_fds=(child_in, child_out),
      env=env,
    )
    os.close(child_in)
    os.close(child_out)
    self._to, self._from = os.fdopen(to, "wb"), os.fdopen(come, "rb", 0)

  def _end(self):
    if self._process is not None:
      self._process.kill()
      self._process.wait()
      self._from.close()
      with contextlib.suppress(BrokenPipeError):
        self._to.close()
      self._process = None


def _serve(module, come, to):
  """The child: reads what is asked for until the pipe closes."""
  readers = importlib.import_module(module).READERS
  inbox, outbox = os.fdopen(come, "rb"), os.fdopen(to, "wb")
  with tempfile.TemporaryDirectory() as place:
    said = pathlib.Path(place) / "said"
    quiet = os.open(said, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.stdout.reconfigure(line_buffering=True)
    ready = set()
    while True:
      try:
        name, files = pickle.load(inbox)
      except EOFError:
        return
      folder = pathlib.Path(place) / "files"
      _write(folder, files)
      if name not in ready and readers[name].warm:
        readers[name].warm()  # imports and compilation are not the files'
      ready.add(name)
      os.truncate(said, 0)
      outcome = _outcome(readers[name], folder)
      printed = said.read_text(encoding="utf-8", errors="replace")
      if "Traceback" in printed or "Warning:" in printed:
        outcome = dataclasses.replace(
          outcome, kind="fault", text=printed[-3000:], where=_last(printed)
        )
      pickle.dump(outcome, outbox)
      outbox.flush()


def _outcome(reader, folder):
  from offalign.errors import UserError

  _forget_peak()
  _limit()
  began = time.monotonic()
  kind, text, where = "accepted", "", ""
  try:
    reader.check(folder, reader.read(folder))
  except UserError as error:
    kind, text = "refused", str(error)
    if _caused_by(error, MemoryError):
      kind, where = "fault", "MemoryError behind a refusal"
      text = traceback.format_exc()
    if len(text) > 5_000:
      kind, where = "fault", f"a refusal of {len(text):,} characters"
      text = text[:400]
  except BaseException as error:
    kind, text = "fault", traceback.format_exc()[-3000:]
    where = _place(error)
  took, peak = time.monotonic() - began, _peak()
  if peak > MIB:
    kind, where = "fault", f"over {MIB} MiB"
  return Outcome(kind, text, where, took, peak)


def _write(folder, files):
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir()
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _caused_by(error, kind):
  while error is not None:
    if isinstance(error, kind):
      return True
    error = error.__cause__ or error.__context__
  return False


def _place(error):
  """The exception, and the last line of ours that it came through."""
  frames = traceback.extract_tb(error.__traceback__)
  ours = [f for f in frames if "/offalign/" in f.filename] or frames
  last = ours[-1]
  name = f"{pathlib.Path(last.filename).name}:{last.lineno}"
  deepest = pathlib.Path(frames[-1].filename).name
  return f"{type(error).__name__} at {name} ({deepest})"


def _last(printed):
  lines = [line for line in printed.splitlines() if line[:1].strip()]
  return f"printed: {lines[-1][:100]}" if lines else "printed"


def _limit():
  """Bounds the addresses of this process to what it has and some more."""
  with open("/proc/self/statm", encoding="ascii") as file:
    pages = int(file.read().split()[0])
  most = pages * resource.getpagesize() + _SPACE
  resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _forget_peak():
  with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
    file.write("5")


def _peak():
  """The most memory that this process held, in MiB."""
  try:
    with open("/proc/self/status", encoding="ascii") as file:
      line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
  except OSError:
    return 0.0


if __name__ == "__main__":
  # Pickles name this module, which runs here as __main__.
  import bounded

  bounded._serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
