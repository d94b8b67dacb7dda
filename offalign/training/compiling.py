"""Compile time: what jax compiles, and the seconds that takes."""

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"


class Compiling:
  """Counts compiled programs while it is open as a context manager.

  A program that is found in a cache of compiled programs counts too, with the
  seconds that it takes to read.

  Attributes:
    programs: how many.
    seconds: to lower and to compile them; not to trace them.
  """

  def __init__(self) -> None:
    self.programs, self.seconds = 0, 0.0

  def __enter__(self) -> "Compiling":
    jax.monitoring.register_event_duration_secs_listener(self._note)
    return self

  def __exit__(self, *error: object) -> None:
    jax.monitoring.unregister_event_duration_listener(self._note)

  def __str__(self) -> str:
    return f"{self.seconds:.0f} s of compiling"

  def _note(self, event: str, duration_secs: float, **about: str | int) -> None:
    self.programs += event == _COMPILED
    if event in (_COMPILED, _LOWERED):
      self.seconds += duration_secs
