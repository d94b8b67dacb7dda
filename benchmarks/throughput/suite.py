"""Lets the contenders of each case take turns, and records what they did."""

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.throughput import contenders, protocol
from benchmarks.throughput.cases import Case
from benchmarks.throughput.contenders import Contender

SECONDS = 4.0  # a turn's length, roughly


@dataclasses.dataclass(frozen=True)
class Result:
  """What one contender did on one case.

  Attributes:
    contender: its name.
    seconds: of a step, one for each turn; up to its end for one that ended.
    peak_mb: the process's high-water mark.
    about: versions and settings, as its worker says them.
    error: why it did not take part, or None.
  """

  contender: str
  seconds: tuple[float, ...] = ()
  peak_mb: float = 0.0
  about: dict[str, Any] = dataclasses.field(default_factory=dict)
  error: str | None = None


class Worker:
  """A contender's process."""

  def __init__(
    self,
    contender: Contender,
    case: Case,
    python: str,
    log: Path,
    seconds: float = SECONDS,
  ):
    """Starts it, and does not wait: `ready` does.

    Args:
      contender: who.
      case: what it makes steps of.
      python: the interpreter.
      log: where what it says goes.
      seconds: of a turn, roughly.
    """
    self.contender = contender
    self.error: str | None = None
    self.seconds: list[float] = []
    self.peak_mb = 0.0
    self.about: dict[str, Any] = {}
    self._length, self._steps = seconds, 1
    self._log = log.open("w")
    self._process = subprocess.Popen(
      [
        python,
        "-m",
        f"benchmarks.throughput.{contender.worker}",
        protocol.argument(case),
      ],
      env=contenders.environment(contender),
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
    )

  def ready(self) -> None:
    """Waits until it has compiled and is warm.

    Raises:
      ChildProcessError: where it ends before.
    """
    self.about = self._read()

  def measure(self) -> None:
    """Finds how many steps a turn takes; the others should be quiet by now.

    Raises:
      ChildProcessError: where it ends.
    """
    self._steps = max(1, round(self._length / self._turn(1)))

  def turn(self) -> None:
    """Makes some steps and notes the time of one, or how it failed."""
    if self.error is None:
      try:
        self.seconds.append(self._turn(self._steps))
      except ChildProcessError as error:
        self.error = str(error)

  def result(self) -> Result:
    """What it did so far."""
    return Result(
      self.contender.name,
      tuple(self.seconds),
      self.peak_mb,
      {k: v for k, v in self.about.items() if k != "ready"},
      self.error,
    )

  def _turn(self, steps: int) -> float:
    stdin = self._process.stdin
    assert stdin is not None
    # A process that is gone says why in `_read`.
    with contextlib.suppress(BrokenPipeError):
      stdin.write(f"{steps}\n")
      stdin.flush()
    answer = self._read()
    self.peak_mb = answer["peak_mb"]
    return answer["seconds"] / steps

  def _read(self) -> dict[str, Any]:
    stdout = self._process.stdout
    assert stdout is not None
    line = stdout.readline()
    if not line:
      raise ChildProcessError(
        f"ended with status {self._process.wait()}: {_last(self._log.name)}"
      )
    return json.loads(line)

  def close(self) -> None:
    """Ends the process."""
    self._process.kill()
    with self._process:  # closes the pipes, and waits
      pass
    self._log.close()


def _last(log: str) -> str:
  """The last thing a process said, and where the rest is."""
  said = Path(log).read_text(encoding="utf-8", errors="replace").strip()
  last = said.splitlines()[-1].strip()[-200:] if said else "it said nothing"
  return f"{last} (see {Path(log).name})"


def run(
  case: Case,
  names: Sequence[str],
  peers: Path | None,
  repeats: int,
  out: Path,
  doing: Callable[[str], None] = lambda what: None,
  seconds: float = SECONDS,
) -> list[Result]:
  """Runs one case.

  All processes start at once, and none is timed before all are ready. They
  stay alive throughout; in each round each makes its turn, in an order that
  rotates, so that a drift of the machine meets all alike. One that fails is
  left out of what follows; the others go on.

  Args:
    case: what to run.
    names: contenders besides ours; empty for all.
    peers: folder of their environments; None = this process's own.
    repeats: rounds.
    out: where the processes' own words go.
    doing: told of every start and every turn.
    seconds: of a turn, roughly.
  """
  results: dict[str, Result] = {}
  started: list[Worker] = []
  with ExitStack() as stack:
    for contender in contenders.chosen(case, names):
      doing(f"{case.name}: {contender.name} starts")
      python = contenders.python(contender, peers)
      if python is None:
        results[contender.name] = Result(
          contender.name, error=f"absent: {_where(contender, peers)}"
        )
        continue
      log = out / f"{case.name} {contender.name}.log".replace(" ", "_")
      worker = Worker(contender, case, python, log, seconds)
      stack.callback(worker.close)
      started.append(worker)
    workers = started
    for do in (Worker.ready, Worker.measure):
      workers = [w for w in workers if _went(do, w, results)]
    for i in range(repeats):
      for j in range(len(workers)):
        worker = workers[(i + j) % len(workers)]
        doing(f"{case.name}: {worker.contender.name} {i + 1}/{repeats}")
        worker.turn()
  for worker in workers:
    results[worker.contender.name] = worker.result()
  order = [c.name for c in contenders.CONTENDERS]
  return sorted(results.values(), key=lambda r: order.index(r.contender))


def _went(
  do: Callable[[Worker], None], worker: Worker, results: dict[str, Result]
) -> bool:
  """Whether a worker got through; else why not is noted, and it is ended."""
  try:
    do(worker)
  except ChildProcessError as error:
    name = worker.contender.name
    results[name] = Result(name, error=str(error))
    worker.close()
    return False
  return True


def _where(contender: Contender, peers: Path | None) -> str:
  if peers is None:
    return f"no package {contender.module!r} here; see --peers"
  return f"no environment {contender.environment!r} in {peers}"
