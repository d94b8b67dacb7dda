"""Contract on direction: a first step raises the better completion."""

import numpy as np

from offalign.losses import Loss
from offalign.testing.losses.inputs import (
  Columns,
  of_sequences,
  require,
  run,
  sample,
  with_means,
)
from offalign.types import Kind


def direction(loss: Loss) -> None:
  """At pi = pi_ref the gradient raises better and lowers worse completions.

  Where all completions are demonstrations, all are raised. Without a
  reference, the worse may be left alone. Values move towards the rewards; in
  a reward model it is the values that rise and fall. A definition that
  declares `pushes` must push as declared instead.
  """
  columns = sample(loss)
  # The same mean log-prob everywhere: no margin yet, with or without lengths.
  columns["logps"] = columns["ref_logps"] = -columns["lengths"]
  columns["behaviour_logps"] = columns["ref_logps"]
  columns["prefix_logps"] = columns["ref_prefix_logps"] = -columns["lengths"]
  columns["kl"] = np.asarray(0.0)
  result = run(loss, with_means(loss, columns))
  push = -of_sequences(result, "values" if loss.trains_rewards else "logps")
  better, worse = _order(loss, columns)
  if loss.pushes is not None:
    for side, sign, rows in zip(
      ("better", "worse"), loss.pushes, (better, worse), strict=True
    ):
      require(
        np.sign(np.where(np.abs(push[rows]) < 1e-12, 0.0, push[rows])) == sign,
        f"it declares a push of sign {sign} on the {side} completion",
      )
    return
  require(push[better] > 0, "it does not raise the better completion")
  require(push[worse] <= 0, "it raises the worse completion")
  if {"ref_logps", "ref_token_logps"} & set(loss.needs):
    require(push[worse] < 0, "it does not lower the worse completion")
  if loss.trains_rewards:
    require(push[worse] < 0, "it does not lower the worse completion's value")
  elif loss.needs_value and "rewards" in loss.needs:
    above = (columns["rewards"] - columns["values"]).mean(axis=1, keepdims=True)
    require(
      -of_sequences(result, "values") * above > 0,
      "it does not move values to rewards",
    )


def _order(loss: Loss, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
  """Which completions are better and which are worse: bool [B, K] each."""
  shape = columns["logps"].shape
  if "labels" in loss.needs:
    return columns["labels"], ~columns["labels"]
  if "rewards" in loss.needs:
    rewards = columns["rewards"]
    if loss.needs_value and not loss.trains_rewards:
      if loss.whole_batch:  # it may centre them: the extremes alone are sure
        above = rewards - columns["values"]
        return above == above.max(), above == above.min()
      return rewards > columns["values"], rewards < columns["values"]
    axis = 0 if loss.kind is Kind.SINGLE else 1
    best = rewards.max(axis, keepdims=True)
    return rewards == best, rewards == rewards.min(axis, keepdims=True)
  first = np.broadcast_to(np.arange(shape[1]) == 0, shape)
  return first, ~first if loss.kind is Kind.PAIR else np.zeros(shape, bool)
