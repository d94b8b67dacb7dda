"""Held-out reward accuracy: does the policy rank pairs as people did?"""

from collections.abc import Callable

import numpy as np

from offalign.data import TokenRows, eval_batches
from offalign.losses import Loss
from offalign.types import Batch, Params, Scores


def reward_accuracy(
  loss: Loss,
  score: Callable[[Params, Batch], np.ndarray],
  params: Params,
  rows: TokenRows,
  *,
  batch_size: int,
) -> dict[str, float]:
  """Share of pairs whose better completion has the higher implicit reward.

  The implicit reward is the loss's own where it has one (scale times
  log-ratio, or the mean log-prob of a loss without reference); for other
  losses (SFT) it is the log-ratio to the starting policy. Equal rewards count
  half, so an untrained policy has 0.5.

  Args:
    loss: whose implicit reward it is.
    score: (policy params, batch) -> [B, K] summed log-probs.
    params: the policy's.
    rows: pairs (K = 2), better completion first, with `ref_logps`.
    batch_size: pairs scored at a time.

  Returns:
    `rewards/chosen`, `rewards/rejected`, `rewards/margins` and
    `rewards/accuracies`, means over all pairs.
  """
  rewards = []
  for batch in eval_batches(rows, batch_size):
    columns = {
      "logps": np.asarray(score(params, batch)),
      "lengths": batch.completion_mask.sum(-1),
    }
    if "ref_logps" in loss.needs or not loss.average:
      columns["ref_logps"] = batch.ref_logps
    rewards.append(np.asarray(loss.implicit_rewards(Scores(columns))))
  chosen, rejected = np.concatenate(rewards)[: len(rows)].T
  margins = chosen - rejected
  return {
    "rewards/chosen": float(chosen.mean()),
    "rewards/rejected": float(rejected.mean()),
    "rewards/margins": float(margins.mean()),
    "rewards/accuracies": float(((margins > 0) + 0.5 * (margins == 0)).mean()),
  }
