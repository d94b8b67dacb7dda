"""How a worker is spoken to: lines of JSON over its standard streams.

A worker gets its case as its one argument. When it is ready (compiled, warm)
it writes {"ready": true, ...}; then for every line N it reads it makes N
steps and writes {"seconds": ..., "loss": ..., "peak_mb": ...}. A worker that
owns its loop calls `serve`; one whose trainer owns it, `Turns`.
"""

import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.throughput.cases import Case


def case() -> Case:
  """The worker's case, from its command line."""
  return Case(**json.loads(sys.argv[1]))


def argument(case: Case) -> str:
  """What `case` reads back."""
  return json.dumps(dataclasses.asdict(case))


class Speaker:
  """The worker's side. Takes standard output: whatever else a library
  prints goes to standard error."""

  def __init__(self) -> None:
    """Takes over standard output."""
    self._out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

  def ready(self, **about: Any) -> None:
    """Says that the next step will be an ordinary one."""
    self._write({"ready": True, **about})

  def wanted(self) -> int:
    """Waits for a request; the number of steps. Ends the process at EOF."""
    line = sys.stdin.readline()
    if not line:
      self._out.flush()
      os._exit(0)
    return int(line)

  def done(self, seconds: float, loss: float) -> None:
    """Answers a request."""
    self._write({"seconds": seconds, "loss": loss, "peak_mb": peak_mb()})

  def _write(self, message: dict[str, Any]) -> None:
    self._out.write(json.dumps(message) + "\n")
    self._out.flush()


def serve(
  step: Callable[[], float], *, warm: int = 2, speaker: Speaker, **about: Any
) -> None:
  """Answers requests for ever.

  Args:
    step: makes one step; returns its loss, on the host.
    warm: steps before it counts as ready.
    speaker: the standard streams.
    about: what to say of this contender (versions, settings).
  """
  first, *_ = [step() for _ in range(warm)]
  speaker.ready(**about, first_loss=first)
  while True:
    steps = speaker.wanted()
    began = time.perf_counter()
    for _ in range(steps):
      loss = step()
    speaker.done(time.perf_counter() - began, loss)


def peak_mb() -> float:
  """The most memory that this process has held, in MiB.

  On Linux `getrusage` counts from what the process that started this one
  held, so that workers would all show the benchmark's own peak.
  """
  try:
    with open("/proc/self/status", encoding="utf-8") as status:
      line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
  except (OSError, StopIteration):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Turns:
  """Answers requests from inside a training loop that a library owns."""

  def __init__(
    self,
    speaker: Speaker,
    settle: Callable[[], float],
    *,
    warm: int = 2,
    **about: Any,
  ):
    """Waits for nothing yet.

    Args:
      speaker: the standard streams.
      settle: waits until the steps so far are done; returns the last loss.
      warm: steps before it counts as ready.
      about: what to say of this contender (versions, settings).
    """
    self._speaker, self._settle, self._about = speaker, settle, about
    self._warm, self._left, self._began = warm, 0, 0.0
    self._steps, self._first = -1, float("nan")

  def between(self) -> None:
    """To be called before every step; returns when a step is wanted."""
    self._steps += 1
    if self._steps == 1:
      self._first = self._settle()
    if self._steps < self._warm:
      return
    if self._left > 1:
      self._left -= 1
      return
    loss = self._settle()
    if self._left:
      self._speaker.done(time.perf_counter() - self._began, loss)
    else:
      self._speaker.ready(**self._about, first_loss=self._first)
    self._left = self._speaker.wanted()
    self._began = time.perf_counter()
