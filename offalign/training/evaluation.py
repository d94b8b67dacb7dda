"""What a run measures on held-out rows: the loss's metrics, and accuracy.

Reward accuracy says whether the policy ranks pairs as people did.
"""

import dataclasses

import jax
import numpy as np

from offalign.data import TokenRows, batch, eval_rows
from offalign.distributed import sharding
from offalign.distributed.signals import Stop
from offalign.learner import Learner, TrainState
from offalign.policy.folder import PREFIX
from offalign.reference.scoring import distinct_logps
from offalign.training.auc import Auc, auc
from offalign.training.batches import Batches
from offalign.training.metrics import finish
from offalign.types import Params, Scores

_ACCURACY = ("chosen", "rejected", "margins", "accuracies")


def evaluate(
  learner: Learner,
  state: TrainState,
  data: Batches,
  ref: Params | None,
  batch_size: int,
  stop: Stop,
  reference: Params | None = None,
) -> dict[str, float]:
  """Evaluates on held-out rows: the loss's metrics and reward accuracy.

  Args:
    learner: the learner.
    state: its params are evaluated.
    data: its "held_out" and "judged" rows, where there are any.
    ref: the frozen weights, where the learner has them.
    batch_size: prompts a batch.
    stop: looked at after each batch.
    reference: of the learner's `reference`, where it has one.

  Raises:
    Stopped: where the run was asked to stop.
  """
  out: dict[str, float] = {}
  if "held_out" in data.rows:
    sums: dict[str, np.ndarray] = {}
    mine = sharding.local_rows(learner.mesh, batch_size)
    for picked, weight in eval_rows(data.rows["held_out"], batch_size):
      host = data.batch("held_out", picked, weight, mine)
      placed = sharding.put_batch(learner.mesh, host)
      given = [state.params, placed, ref, state.loss_state]
      if reference is not None:
        given.append(reference)
      _, means = jax.device_get(learner.evaluate(*given))
      for name, pair in means.items():
        sums[name] = sums.get(name, np.zeros(2)) + np.asarray(pair)
      stop.check()
    out |= finish({"means": sums})
  # A reward model's accuracy is among the loss's own metrics.
  if "judged" in data.rows and not learner.loss.trains_rewards:
    policy = learner.policy(state.params, ref)
    judged = data.rows["judged"]
    out |= reward_accuracy(learner, policy, judged, batch_size=batch_size)
  return {PREFIX + name: value for name, value in out.items()}


def reward_accuracy(
  learner: Learner, params: Params, rows: TokenRows, *, batch_size: int
) -> dict[str, float]:
  """Share of pairs whose better completion has the higher implicit reward.

  The implicit reward is the loss's own where it has one (scale times
  log-ratio, or the mean log-prob of a loss without reference); for other
  losses (SFT) it is the log-ratio to the starting policy. Equal rewards count
  half, so a policy that is still its reference has 0.5.

  Args:
    learner: its loss decides the implicit reward.
    params: the policy's.
    rows: N pairs (K = 2), better completion first, with `ref_logps`.
    batch_size: sequences scored at a time.

  Returns:
    `rewards/chosen`, `rewards/rejected`, `rewards/margins` and
    `rewards/accuracies`, means over all pairs.
  """
  rewards = _implicit_rewards(learner, params, rows, batch_size)
  chosen, rejected = rewards.T
  margins = chosen - rejected
  return {
    "rewards/chosen": float(chosen.mean()),
    "rewards/rejected": float(rejected.mean()),
    "rewards/margins": float(margins.mean()),
    "rewards/accuracies": float(((margins > 0) + 0.5 * (margins == 0)).mean()),
  }


def thumbs(
  learner: Learner,
  params: Params,
  rows: dict[str, TokenRows],
  *,
  batch_size: int,
) -> Auc | None:
  """How well implicit rewards part good from bad, where there are no pairs.

  Args:
    learner: its loss says which implicit reward it is.
    params: the policy's.
    rows: as for `evaluate`; "held_out" with labels, or with rewards of two
      values, the larger one good.
    batch_size: sequences scored at a time.

  Returns:
    The AUC; None where there are pairs to judge by, or no two classes.
  """
  held, loss = rows.get("held_out"), learner.loss
  if held is None or "judged" in rows or loss.trains_rewards:
    return None
  if held.ref_logps is None and not loss.average:
    return None
  good = held.labels
  if good is None and held.rewards is not None:
    if len(np.unique(held.rewards)) != 2:
      return None
    good = held.rewards == held.rewards.max()
  if good is None or good.all() or not good.any():
    return None
  rewards = _implicit_rewards(learner, params, held, batch_size)
  return auc(rewards[good], rewards[~good])


def _implicit_rewards(
  learner: Learner, params: Params, rows: TokenRows, batch_size: int
) -> np.ndarray:
  """The implicit rewards of rows, [N, K]."""
  loss = learner.loss
  used = np.unique(rows.completion_index)
  logps = np.full(len(rows.completions), np.nan, np.float32)
  logps[used] = distinct_logps(
    rows, used, learner, params, batch_size=batch_size
  )
  columns = {
    "logps": logps[rows.completion_index],
    "lengths": rows.completions.lengths[rows.completion_index],
  }
  if "ref_logps" in loss.needs or not loss.average:
    columns["ref_logps"] = rows.ref_logps
  return np.asarray(loss.implicit_rewards(Scores(columns)))


def names(
  learner: Learner,
  params: Params,
  rows: dict[str, TokenRows],
  batch_size: int,
) -> set[str]:
  """Names of the metrics that `evaluate` may return; computes nothing.

  Args:
    learner: the learner.
    params: the policy's, before the first step.
    rows: as for `evaluate`, as they were read.
    batch_size: as for `evaluate`.
  """
  found: set[str] = set()
  if "held_out" in rows:
    host = batch(rows["held_out"], np.zeros(batch_size, int))
    ref = np.zeros(host.completions.shape[:2], np.float32)
    state = jax.eval_shape(learner.fresh, params)
    host = dataclasses.replace(host, ref_logps=ref)
    given = [state.params, host, params, state.loss_state]
    if learner.reference is not None:
      key = jax.random.key(0)
      given.append(jax.eval_shape(learner.reference.init, key))
    _, means = jax.eval_shape(learner.evaluate, *given)
    found |= set(finish({"means": dict.fromkeys(means, (1.0, 1.0))}))
  if "judged" in rows and not learner.loss.trains_rewards:
    found |= {f"rewards/{name}" for name in _ACCURACY}
  return {PREFIX + name for name in found}
