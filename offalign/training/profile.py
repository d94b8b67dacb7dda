"""Profile a few steps: a trace for TensorBoard and ui.perfetto.dev."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax

from offalign.config.config import COMPILING


class Profile:
  """Traces the steps after the first two of a process.

  As a context manager it ends a trace that is still going on.
  """

  def __init__(self, folder: pathlib.Path, steps: int, begin: int):
    """Prepares a trace, and starts none.

    Args:
      folder: where the trace goes.
      steps: to trace; 0 for none.
      begin: the step that the process goes on after.
    """
    self._folder = folder
    self._steps = range(begin + COMPILING + 1, begin + COMPILING + 1 + steps)
    self._on = False

  def __enter__(self) -> "Profile":
    return self

  def __exit__(self, *error: object) -> None:
    self._end()

  @contextlib.contextmanager
  def step(self, step: int) -> Iterator[None]:
    """A context to begin a step in; in the last one, to wait for all."""
    if step not in self._steps:
      yield
      return
    if not self._on:
      options = jax.profiler.ProfileOptions()
      # To note every call of Python slows the host, and where a CPU is the
      # device a step, by a third: the trace would show little but itself.
      options.python_tracer_level = 0
      jax.profiler.start_trace(self._folder, profiler_options=options)
      self._on = True
    with jax.profiler.StepTraceAnnotation("train", step_num=step):
      yield
    if self.ends_with(step):
      self._end()

  def ends_with(self, step: int) -> bool:
    """Whether a step is the last one of the trace, to be waited for in it."""
    return bool(self._steps) and step == self._steps[-1]

  def _end(self) -> None:
    if self._on:
      jax.profiler.stop_trace()
      self._on = False
