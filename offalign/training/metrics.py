"""Fetch a step's metrics to the host, to log them or to end the run."""

from typing import Any

import jax
import numpy as np


class NonFinite(FloatingPointError):
  """The loss or the gradient stopped being a number."""


def finish(
  metrics: dict[str, Any], parts: dict[str, np.ndarray] | None = None
) -> dict[str, float]:
  """Turns the metrics of a step into floats to log.

  Means are taken of (sum, weight) pairs; a metric that applied to no row is
  left out. `rewards/margins` is chosen minus rejected where the loss did not
  log it row by row. The host waits for the step here.

  Args:
    metrics: from `train_step`.
    parts: source -> its rows of the batch, bool [B]; adds the mean loss and
      the number of rows of each as `loss/SOURCE` and `rows/SOURCE`.
  """
  fetched = jax.device_get(metrics)
  out = {
    name: float(total / weight)
    for name, (total, weight) in fetched["means"].items()
    if weight > 0
  }
  out |= {k: float(v) for k, v in fetched.items() if k.startswith("grad_norm")}
  if "rewards/chosen" in out and "rewards/rejected" in out:
    margin = out["rewards/chosen"] - out["rewards/rejected"]
    out.setdefault("rewards/margins", margin)
  for name, mine in (parts or {}).items():
    out[f"rows/{name}"] = float(mine.sum())
    if mine.any():
      out[f"loss/{name}"] = float(np.asarray(fetched["losses"])[mine].mean())
  return out


def check_finite(step: int, metrics: dict[str, Any], rows: list[str]) -> None:
  """Stops a run whose loss or gradient is not finite.

  Args:
    step: the step that produced `metrics`.
    metrics: from `train_step`.
    rows: where each row of the batch came from.

  Raises:
    NonFinite: naming the step and the rows.
  """
  losses_ = np.asarray(metrics["losses"])
  bad = [
    row for row, x in zip(rows, losses_, strict=True) if not np.isfinite(x)
  ]
  norms = {k: float(v) for k, v in metrics.items() if k.startswith("grad_norm")}
  if not bad and all(np.isfinite(v) for v in norms.values()):
    return
  where = "the loss is not finite on " + ", ".join(bad[:8])
  if not bad:
    where = f"the gradient is not finite ({norms}) on " + ", ".join(rows[:8])
  raise NonFinite(
    f"step {step}: {where}{' and others' if len(bad or rows) > 8 else ''}; "
    "look at these rows, or lower the learning rate"
  )
