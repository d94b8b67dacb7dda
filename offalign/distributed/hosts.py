"""Training with several processes, on one machine or on many.

Every process runs the same program with the same flags, and jax makes one
computation of them all. What only one process may do, such as writing files
and printing, the first one does.

Above 300 lines, since all that waits for other processes is here: what one of
them calls, each must.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from offalign import spec
from offalign.distributed import lost_peer
from offalign.errors import OPTIONS, UserError, marked, option, spoken

_WAIT = 300  # seconds for all processes to come together
_ALIKE = 5  # seconds in which processes that fail alike all say so
_LOOK = 0.5  # seconds between two looks whether to stop
_TOKEN = "shared-folder-check"
_joined = False  # for the life of the process, as in jax
_silent = False


@dataclasses.dataclass(frozen=True)
class HostsConfig:
  """How this process finds the others; every process gets the same flags.

  Attributes:
    coordinator: "auto" asks the cluster (TPU pods, SLURM, Kubernetes, Open
      MPI), which also numbers the processes; else host:port of process 0,
      any free port, the same for all.
    processes: how many processes there are; not with "auto".
    process: the number of this process, from 0; not with "auto".
    timeout: seconds without a heartbeat after which a process counts as gone
      and the others end.
  """

  coordinator: str = "auto"
  processes: int | None = None
  process: int | None = None
  timeout: int = 30

  def __post_init__(self) -> None:
    """Checks that the options go together.

    Raises:
      UserError: naming the option.
    """
    spec.check_fields("hosts", self)
    coordinator = option("hosts.coordinator", self.coordinator)
    given = {"processes": self.processes, "process": self.process}
    for name, value in given.items():
      if self.coordinator == "auto" and value is not None:
        raise UserError(
          f"{option(f'hosts.{name}', value)} is set, but the cluster numbers "
          "the processes: leave it out, or name "
          f"{option('hosts.coordinator', 'HOST:PORT')}"
        )
      if self.coordinator != "auto" and value is None:
        raise UserError(f"{coordinator} needs {option(f'hosts.{name}')} too")
    if self.process not in (None, *range(self.processes or 0)):
      raise UserError(
        f"{option('hosts.process', self.process)} is none of "
        f"{option('hosts.processes', self.processes)}, which are numbered "
        "from 0"
      )
    port = self.coordinator.rpartition(":")[2]
    if self.coordinator != "auto" and not port.isdigit():
      raise UserError(f"{coordinator} is not HOST:PORT or auto")
    if self.timeout < 1:
      raise UserError(
        f"{option('hosts.timeout')} must be at least 1, not {self.timeout}"
      )


def join(config: HostsConfig | None) -> None:
  """Joins this process to the others; call it before any device is used.

  Args:
    config: how to find the others; None = there are none.

  Raises:
    UserError: where the others cannot be found.
  """
  global _joined
  if config is None:
    return
  auto = config.coordinator == "auto"
  # With it a process would catch SIGTERM and go on; without it, it ends.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      None if auto else config.coordinator,
      config.processes,
      config.process,
      initialization_timeout=_WAIT,
      heartbeat_timeout_seconds=config.timeout,
    )
  except (ValueError, RuntimeError) as error:
    reason = str(error).splitlines()[0][:200]
    if auto:
      raise UserError(
        f"{option('hosts.coordinator', 'auto')} found no cluster to join "
        f"({reason}): give HOST:PORT, {option('hosts.processes')} and "
        f"{option('hosts.process')} instead"
      ) from error
    raise UserError(
      f"process {config.process} could not join the others at "
      f"{config.coordinator} ({reason}): see that all {config.processes} were "
      "started with the same coordinator, and that its port is free and open"
    ) from error
  _joined = True
  _listen(config.timeout)
  # Gloo gives 30 seconds to those who meet for the first time; later on a
  # process may wait for another that reads a log, or asks an engine, for long.
  wait("all have joined")


def index() -> int:
  """The number of this process, from 0; safe to call before `join`."""
  return jax.process_index() if _joined else 0


def several() -> bool:
  """Whether there is more than one process."""
  return _joined and jax.process_count() > 1


def is_first() -> bool:
  """Whether this is the first process, which writes files and prints."""
  return index() == 0


def speaks() -> bool:
  """Whether this process says what it does: the first, unless `silent`."""
  return is_first() and not _silent


@contextlib.contextmanager
def silent(really: bool = True) -> Iterator[None]:
  """No line and no progress bar of a run is shown while this is entered.

  Args:
    really: False = does nothing.
  """
  global _silent
  before, _silent = _silent, _silent or really
  try:
    yield
  finally:
    _silent = before


def say(text: str) -> None:
  """Prints a line in the first process only, and not where it is silent."""
  if speaks():
    print(spoken(text), flush=True)


def wait(name: str) -> None:
  """Waits until every process has reached this point (a barrier)."""
  if several():
    multihost_utils.sync_global_devices(name)


def agree(about: dict[str, Any]) -> None:
  """Checks that every process was given the same flags and files.

  Args:
    about: what must be equal in all processes; JSON.

  Raises:
    UserError: in every process, naming the first difference.
  """
  if not several():
    return
  keys = sorted(about)
  sums = [zlib.crc32(json.dumps(about[key]).encode()) for key in keys]
  found = _gather(np.array(sums, np.uint32))
  for process, theirs in enumerate(found):
    for key, mine, first in zip(keys, theirs, found[0], strict=True):
      if mine != first:
        raise UserError(
          f"process {process} has another {key!r} than process 0: start all "
          f"with the same {OPTIONS}, and give all the same files"
        )


def anywhere(flag: bool) -> bool:
  """Whether `flag` is true in any process; every process must call this."""
  return bool(_gather(np.array([flag])).any()) if several() else flag


def least(number: float) -> float:
  """The least of the numbers of all processes; every process calls this."""
  if not several():
    return number
  return float(_gather(np.array([number], np.float32)).min())


def check_shared(folder: pathlib.Path) -> None:
  """Checks that all processes share a folder: each finds the first's file.

  Raises:
    UserError: in every process, if one does not find it.
  """
  if not several():
    return
  token = folder / _TOKEN
  secret = int(_gather(np.array([time.time_ns() % 2**31], np.int32))[0, 0])
  if is_first():
    token.write_text(str(secret), encoding="utf-8")
  wait("the token is there")
  try:
    sees = token.read_text(encoding="utf-8") == str(secret)
  except OSError:
    sees = False
  blind = np.flatnonzero(~_gather(np.array([sees]))[:, 0])
  if is_first():
    token.unlink()
  if len(blind):
    raise UserError(
      f"{folder} is not one folder for all processes: process {blind[0]} does "
      "not find there what process 0 wrote; name a folder on a file system "
      "that all of them share"
    )


def from_first(
  make: Callable[[], dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
  """Arrays that the first process makes, to the bit the same in every one.

  Args:
    make: called in the first process alone, while the others wait; so it may
      have no part that all processes take.

  Raises:
    UserError: in every process, where `make` raises one in the first.
  """
  if not several():
    return make()
  found, refusal = b"", None
  if is_first():
    try:
      with io.BytesIO() as file:
        arrays: dict[str, Any] = dict(make())
        np.savez(file, **arrays)
        found = file.getvalue()
    except UserError as error:
      refusal = error
      found = json.dumps([marked(error), error.option]).encode()
  told = [len(found), refusal is not None]
  size, refused = _from_first(np.array(told, np.int32)).tolist()
  sent = np.frombuffer(found or bytes(size), np.uint8)
  whole = _from_first(sent).tobytes()
  if refusal is not None:
    raise refusal
  if refused:
    sentence, name = json.loads(whole)
    raise UserError(sentence, name)
  with np.load(io.BytesIO(whole), allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def from_first_watched(
  make: Callable[[Callable[[], None]], dict[str, np.ndarray]],
  watch: Callable[[], None],
) -> dict[str, np.ndarray]:
  """`from_first` of what takes long: all processes meet while it is made.

  Args:
    make: called in the first process alone, with a function that it calls now
      and then; that has every process call `watch`, twice a second at most.
    watch: what it raises, it must raise in every process, and it ends the
      making.

  Raises:
    UserError: in every process, where `make` raises one in the first.
  """
  if not several():
    return make(watch)
  if not is_first():
    while _is_making():
      watch()
    return from_first(dict)
  last = time.monotonic()

  def meet() -> None:
    nonlocal last
    if time.monotonic() - last < _LOOK:
      return
    last = time.monotonic()
    _is_making(True)
    watch()

  def made() -> dict[str, np.ndarray]:
    try:
      found = make(meet)
    except UserError:
      _is_making(False)
      raise
    _is_making(False)
    return found

  return from_first(made)


def _is_making(told: bool = False) -> bool:
  """Whether the first process is still at it, as it tells the others."""
  return bool(_from_first(np.array([told], np.int32))[0])


def json_from_first(make: Callable[[], Any]) -> Any:
  """JSON that the first process makes, the same in every one.

  Args:
    make: see `from_first`; gives what `json.dumps` takes.

  Raises:
    UserError: in every process, where `make` raises one in the first.
  """
  found = from_first(lambda: {"json": np.array(json.dumps(make()))})
  return json.loads(str(found["json"]))


def whole(tree: Any) -> Any:
  """Arrays of all devices as numpy arrays; every process calls this."""
  if not several():
    return jax.device_get(tree)
  return jax.tree.map(
    np.asarray, multihost_utils.process_allgather(tree, tiled=True)
  )


def _from_first(x: np.ndarray) -> np.ndarray:
  """The first process's array, in every process; all have its shape."""
  return np.asarray(multihost_utils.broadcast_one_to_all(x))


def _gather(x: np.ndarray) -> np.ndarray:
  """Gathers an array [n] of every process into [processes, n]."""
  return np.asarray(multihost_utils.process_allgather(x))


def leave(status: int, *, together: bool = False) -> None:
  """Leaves the group of processes; on failure, exits without waiting.

  Args:
    status: the exit status; 0 returns, any other ends this process.
    together: every process has come to its end in good order, so that any
      status returns.
  """
  if not several():
    return
  sys.stdout.flush()
  sys.stderr.flush()
  if status == 0 or together:
    jax.distributed.shutdown()
    return
  if is_first():
    time.sleep(_ALIKE)  # the others fail once the first process is gone
  os._exit(status)


def _listen(timeout: int) -> None:
  """Starts a child process that explains jax's error about a lost peer.

  When a peer is lost, jax ends this process from a thread of its own, with a
  stack trace, and no Python code runs after that. So C++'s stderr goes
  through a child process, which lives as long as its pipe. Python's own
  stderr stays as it is.
  """
  sys.stderr.flush()
  terminal = os.dup(2)
  child = subprocess.Popen(
    [
      sys.executable,
      "-I",
      "-S",
      str(pathlib.Path(lost_peer.__file__)),
      str(jax.process_count()),
      str(timeout),
    ],
    stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    start_new_session=True,  # Ctrl-C is for this process
  )
  assert child.stdin is not None
  os.dup2(child.stdin.fileno(), 2)
  child.stdin.close()
  sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding="utf-8")
