"""Progress of work that takes long: a bar on a terminal, lines in a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import tqdm

SECONDS = 10.0
"""Between two lines of a log, and before the first."""

_DELAY = 1.0  # seconds before a bar is shown
_speaks: Callable[[], bool] | None = None


@contextlib.contextmanager
def of_run(speaks: Callable[[], bool]) -> Iterator[None]:
  """Work meanwhile is a run's: it shows lines too, and none where silent.

  Args:
    speaks: whether anything is to be shown.
  """
  global _speaks
  before, _speaks = _speaks, speaks
  try:
    yield
  finally:
    _speaks = before


class Progress:
  """Counts what is done of one piece of work, and shows it now and then.

  Outside a run there is a bar on a terminal alone.
  """

  def __init__(
    self,
    title: str,
    total: int | None,
    unit: str,
    *,
    leave: bool = False,
    speaks: Callable[[], bool] | None = None,
  ):
    """Shows nothing yet.

    Args:
      title: what is done.
      total: how many there are; None = not known.
      unit: what is counted, in the singular.
      leave: leaves a full bar on the terminal.
      speaks: see `of_run`; None = that of the run in progress, if any.
    """
    speaks = speaks or _speaks
    shown = speaks is None or speaks()
    terminal = shown and sys.stderr.isatty()
    self._lines = shown and speaks is not None and not terminal
    self._title, self._total, self._unit = title, total, unit
    self._done = 0
    self._began = self._said = time.monotonic()
    self._bar = tqdm.tqdm(
      total=total,
      desc=title,
      unit=unit,
      unit_scale=True,
      disable=not terminal,
      delay=0 if leave else _DELAY,
      leave=leave,
    )

  def update(self, number: int = 1) -> None:
    """Counts some more."""
    self._done += number
    self._bar.update(number)
    if not self._lines:
      return
    now = time.monotonic()
    if now - self._said >= SECONDS:
      self._said = now
      print(self._line(now - self._began), flush=True)

  def _line(self, seconds: float) -> str:
    rate = self._done / max(seconds, 1e-9)
    of = "" if self._total is None else f" of {self._total:,}"
    line = f"{self._title}: {self._done:,}{of} {self._unit}s, {rate:,.0f}/s"
    if self._total is None:
      return line
    left = max(self._total - self._done, 0) / max(rate, 1e-9)
    return f"{line}, {tqdm.tqdm.format_interval(left)} left"

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *error: object) -> None:
    self._bar.close()
