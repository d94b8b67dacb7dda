"""The best checkpoint of a run, by a metric on held-out rows.

The metric of each step is read from the run's metrics.jsonl, so every reader
of the folder finds the same best checkpoint.
"""

import math
import pathlib
from collections.abc import Collection, Iterable

from offalign.errors import UserError, option, suggest
from offalign.policy.folder import read_metrics

WIN_RATE = "eval_win_rate/sft"
"""The metric that selection by a judge logs; `offalign.training.selection`."""

_LOWER, _HIGHER = ("loss",), ("accuracies", "accuracy", "margins", "score")


class Best:
  """Finds the best of some steps by a logged metric.

  Attributes:
    metric: the metric's name as it is logged, "eval_...".
  """

  def __init__(self, folder: pathlib.Path, metric: str):
    """Reads what the run has logged so far.

    Args:
      folder: the run folder.
      metric: see `check`.
    """
    self.metric = metric
    self._earned: dict[int, float] = {}
    for line in read_metrics(folder):
      self.note(line["step"], line)

  def note(self, step: int, held: dict[str, float]) -> None:
    """Adds a step's held-out metrics; ignored if `metric` is not among them."""
    value = held.get(self.metric, math.nan)
    if math.isfinite(value):
      self._earned[step] = _sign(self.metric) * value

  def among(self, steps: Iterable[int]) -> int | None:
    """The best of these steps; of equals the first. None if none has one."""
    known = [step for step in sorted(steps) if step in self._earned]
    return max(known, key=lambda step: self._earned[step], default=None)

  def is_best(self, step: int, steps: Iterable[int]) -> bool:
    """Whether a step is better than all of the others in `steps`."""
    return self.among({step, *steps}) == step


def check(metric: str, logged: Collection[str]) -> None:
  """Checks that checkpoints can be ranked by a metric.

  Args:
    metric: the value of keep_best.
    logged: names of the held-out metrics that the run will log.

  Raises:
    UserError: listing the metrics that will do.
  """
  can = sorted(name for name in logged if _sign(name))
  if metric in can:
    return
  if not can:
    raise UserError(
      f"{option('keep_best', metric)} is set, but the run has no held-out rows "
      "to judge by: hold some out, or leave it out"
    )
  why = "is no held-out metric of this run"
  if metric in logged:
    why = "is neither better when lower nor when higher"
  raise UserError(
    f"{option('keep_best', metric)} {why}{suggest(metric, can)} (there is: "
    f"{', '.join(can)})"
  )


def _sign(metric: str) -> int:
  """1 where higher is better, -1 where lower is, 0 where neither."""
  if metric == WIN_RATE:
    return 1
  last = metric.removeprefix("eval_").rpartition("/")[2]
  return (last in _HIGHER) - (last in _LOWER)
