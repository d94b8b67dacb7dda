"""Held-out reward accuracy: does the policy rank pairs as people did?"""

import numpy as np

from offalign.data import TokenRows
from offalign.learner import Learner
from offalign.reference.store import distinct_logps
from offalign.types import Params, Scores


def reward_accuracy(
  learner: Learner, params: Params, rows: TokenRows, *, batch_size: int
) -> dict[str, float]:
  """Share of pairs whose better completion has the higher implicit reward.

  The implicit reward is the loss's own where it has one (scale times
  log-ratio, or the mean log-prob of a loss without reference); for other
  losses (SFT) it is the log-ratio to the starting policy. Equal rewards count
  half, so a policy that is still its reference has 0.5.

  Args:
    learner: its loss says which implicit reward it is.
    params: the policy's.
    rows: N pairs (K = 2), better completion first, with `ref_logps`.
    batch_size: sequences scored at a time.

  Returns:
    `rewards/chosen`, `rewards/rejected`, `rewards/margins` and
    `rewards/accuracies`, means over all pairs.
  """
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
  rewards = np.asarray(loss.implicit_rewards(Scores(columns)))
  chosen, rejected = rewards.T
  margins = chosen - rejected
  return {
    "rewards/chosen": float(chosen.mean()),
    "rewards/rejected": float(rejected.mean()),
    "rewards/margins": float(margins.mean()),
    "rewards/accuracies": float(((margins > 0) + 0.5 * (margins == 0)).mean()),
  }
