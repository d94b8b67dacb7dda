"""What a run has cost so far: seconds, memory, and what it trained on.

RUN/cost.json is written with each checkpoint and at the end. Seconds add up
over all launches of a run; a launch that was killed counts up to its last
checkpoint, as its steps do. Completions and tokens are those of the steps up to
`step`; a step that was repeated after a kill counts once.
"""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from offalign.data import TokenRows
from offalign.files import write_json
from offalign.leaderboard.provenance import Stopwatch, environment, revision
from offalign.policy.folder import COST, read_cost
from offalign.training.compiling import Compiling


class Cost:
  """Counts what a run takes, and writes cost.json."""

  def __init__(
    self,
    folder: pathlib.Path,
    rows: TokenRows,
    batch_size: int,
    watch: Stopwatch,
    compiling: Compiling,
    begin: int,
    recount: Callable[[int], int],
  ):
    """Continues from the folder's cost.json, or begins at zero.

    Args:
      folder: the run folder.
      rows: the training rows, which are as long as those of all rounds.
      batch_size: rows of a step.
      watch: runs since this launch began.
      compiling: counts since then.
      begin: the step that the run goes on after, or 0.
      recount: the tokens that the first steps trained on.
    """
    self._path, self._rows = folder / COST, rows
    self._watch, self._compiling, self._step = watch, compiling, begin
    self._batch = batch_size
    known = (read_cost(folder) if begin else None) or {}
    # What a run took before it kept count is not known.
    before = math.nan if begin else 0.0
    self._before = known.get("seconds", {"wall": before, "cpu": before})
    self._compiled = known.get("compile_seconds", before)
    self._peak = known.get("peak_memory_mb", 0.0)
    self._tokens = known.get("tokens", 0)
    if begin and known.get("step") != begin:
      self._tokens = recount(begin)
    device = jax.devices()[0].device_kind
    self._where = {"versions": environment(device), "revision": revision()}

  def count(self, tokens: int) -> None:
    """Counts a step and the tokens of its batch."""
    self._step += 1
    self._tokens += tokens

  def write(self) -> None:
    """Writes RUN/cost.json."""
    self._watch.lap()
    each = self._rows.completion_index.shape[1]
    completions = self._step * self._batch * each
    peak = max(self._peak, self._watch.peak_memory_mb)
    about: dict[str, Any] = {
      "step": self._step,
      "completions": completions,
      "positions": completions * self._rows.completion_length,
      "tokens": self._tokens,
      "seconds": {
        name: self._before[name] + seconds
        for name, seconds in self._watch.seconds.items()
      },
      "compile_seconds": self._compiled + self._compiling.seconds,
      "peak_memory_mb": peak,
      **self._where,
    }
    write_json(self._path, about)
