"""A bandit's exact expectations as weighted rows for the library's losses.

A loss is a weighted mean over rows, so a batch that lists every outcome with
its probability is an expectation without sampling noise. Weights need not
sum to 1: the learner divides by their sum.

Order matters for one term. The learner's KL estimate (KTO's z0) pairs the
prompt of each row with the completion of the next row of weight > 0, counts
the pair with the weight of that next row, and joins the last row to the
first. Single and labelled rows therefore run through all prompts for one arm
(and one label) before they go to the next arm, always in the same order: the
next row has the same arm and the next prompt, and where a run ends with
prompt X-1 the next one begins with prompt 0, which is what prompt X-1 would
have met had its own run gone round. So the estimate is exactly

  1/X sum_x sum_y mu(y | x + 1 mod X) log (pi / pi_ref)(y | x),

with no boundary term, for the derangement x -> x + 1. It holds as long as no
row in a run has weight 0, for such a row is skipped.
"""

import dataclasses
import math
from typing import Literal

import numpy as np

from benchmarks.bandit_world import Bandit
from offalign.errors import UserError

# Keeps each label's share above 0, in float32 too: see the module docstring.
_SMALLEST_SHARE = 1e-12

_normal_cdf = np.vectorize(
  lambda z: 0.5 * math.erfc(-z / math.sqrt(2.0)), otypes=[np.float64]
)


@dataclasses.dataclass(frozen=True)
class Rows:
  """B prompts with K completions each, and how much each row counts.

  Attributes:
    prompts: int32 [B], x.
    completions: int32 [B, K], y.
    weight: float64 [B].
    rewards: float64 [B, K].
    ref_logps: float64 [B, K], log pi_ref(y|x).
    labels: bool [B, K], True = desirable, or None.
  """

  prompts: np.ndarray
  completions: np.ndarray
  weight: np.ndarray
  rewards: np.ndarray
  ref_logps: np.ndarray
  labels: np.ndarray | None = None


def _rows(
  bandit: Bandit,
  prompts: np.ndarray,
  completions: np.ndarray,
  weight: np.ndarray,
  labels: np.ndarray | None = None,
) -> Rows:
  """Looks up rewards and log_ref; drops rows that cannot happen."""
  kept = weight > 0
  x, y = prompts[kept].astype(np.int32), completions[kept].astype(np.int32)
  return Rows(
    prompts=x,
    completions=y,
    weight=weight[kept],
    rewards=bandit.rewards[x[:, None], y],
    ref_logps=bandit.log_ref[x[:, None], y],
    labels=None if labels is None else labels[kept],
  )


def _arm_major(table: np.ndarray) -> np.ndarray:
  """[X, Y] -> [Y * X], all prompts of the first arm first."""
  return table.T.ravel()


def _grid(bandit: Bandit) -> tuple[np.ndarray, np.ndarray]:
  """Prompts [B] and completions [B, 1] of every cell, arm-major."""
  cells = np.indices(bandit.mu.shape)
  return _arm_major(cells[0]), _arm_major(cells[1])[:, None]


def single_rows(bandit: Bandit) -> Rows:
  """Every (x, y) once, weight mu(y|x) / X: B = X * Y rows, sum 1."""
  x, y = _grid(bandit)
  return _rows(bandit, x, y, _arm_major(bandit.mu) / len(bandit.mu))


def labelled_rows(bandit: Bandit, batch: int = 32) -> Rows:
  """Every (x, y) twice: as the paper's per-batch threshold labels it.

  The threshold is the mean reward of a batch, which varies from batch to
  batch like a normal of mean 0 and variance 1 / batch (rewards of mean 0 and
  variance 1). So (x, y) is desirable with probability
  p = Phi(r sqrt(batch)): one row with label True and weight mu p / X, and
  one with label False and weight mu (1 - p) / X. p is kept within 1e-12 of
  0 and 1, so that no row has weight 0.

  Args:
    bandit: the tables.
    batch: completions in the batches imitated, >= 1.

  Returns:
    B = 2 X Y rows, all True ones first; weights sum to 1.

  Raises:
    UserError: for a batch below 1.
  """
  if batch < 1:
    raise UserError(f"a batch has at least one completion, not {batch}")
  x, y = _grid(bandit)
  p = _normal_cdf(_arm_major(bandit.rewards) * math.sqrt(batch))
  p = np.clip(p, _SMALLEST_SHARE, 1.0 - _SMALLEST_SHARE)
  weight = _arm_major(bandit.mu) / len(bandit.mu)
  return _rows(
    bandit,
    np.concatenate([x, x]),
    np.concatenate([y, y]),
    np.concatenate([weight * p, weight * (1 - p)]),
    np.repeat([[True], [False]], len(x), axis=0),
  )


def prompt_labelled_rows(bandit: Bandit) -> Rows:
  """Every (x, y) once, desirable where r(x, y) > E_mu r(x, .).

  The threshold per prompt, known without noise; the oracle's labels. Weight
  mu / X, sum 1.
  """
  rows = single_rows(bandit)
  threshold = (bandit.mu * bandit.rewards).sum(axis=1)
  labels = rows.rewards > threshold[rows.prompts][:, None]
  return dataclasses.replace(rows, labels=labels)


def centred_rows(bandit: Bandit) -> Rows:
  """`single_rows` whose rewards are r(x, y) - E_mu r(x, .).

  A loss without a value sees them as DRO with V(x) = E_mu r(x, .), the baseline
  of a policy gradient.
  """
  rows = single_rows(bandit)
  mean = (bandit.mu * bandit.rewards).sum(axis=1)
  centred = rows.rewards - mean[rows.prompts][:, None]
  return dataclasses.replace(rows, rewards=centred)


def group_rows(bandit: Bandit) -> Rows:
  """Every arm of a prompt once, as one group: B = X rows, K = Y, weight 1 / X.

  A loss that takes the mean over a group sees each arm as often as any other,
  so the behaviour policy is uniform here whatever mu is.
  """
  prompts, arms = bandit.mu.shape
  return _groups(bandit, np.tile(np.arange(arms), (prompts, 1)))


def reference_group_rows(bandit: Bandit, k: int = 250) -> Rows:
  """K completions of each prompt, in the shares that pi_ref gives the arms.

  k pi_ref is rounded to whole numbers that sum to k, the largest remainders
  upwards. It stands for stored samples of the reference without their noise; a
  rare arm may be left out.

  Args:
    bandit: the tables.
    k: completions a prompt, >= 2.

  Raises:
    UserError: for a k below 2.
  """
  if k < 2:
    raise UserError(f"a group has two completions or more, not {k}")
  shares = k * np.exp(bandit.log_ref)
  counts = np.floor(shares).astype(int)
  order = np.argsort(counts - shares, axis=1, kind="stable")
  missing = k - counts.sum(axis=1, keepdims=True)
  more = (np.arange(counts.shape[1]) < missing).astype(int)
  np.put_along_axis(
    counts, order, np.take_along_axis(counts, order, 1) + more, axis=1
  )
  arms = np.arange(counts.shape[1])
  return _groups(bandit, np.stack([np.repeat(arms, c) for c in counts]))


def _groups(bandit: Bandit, completions: np.ndarray) -> Rows:
  """One row a prompt, [X, K] arms, weight 1 / X."""
  x = np.arange(len(completions))
  return _rows(bandit, x, completions, np.full(len(x), 1 / len(x)))


def pair_rows(bandit: Bandit, labels: Literal["bt", "det"] = "bt") -> Rows:
  """Every ordered pair (chosen, rejected) of two arms of one prompt.

  Two independent draws of mu, one preferred: weight
  2 mu(y) mu(y') P(y > y') / X. Draws of the same arm twice say nothing and
  are left out, so weights sum to 1 - mean_x sum_y mu^2.

  Args:
    bandit: the tables.
    labels: "bt" is Bradley-Terry, P = sigmoid(r - r'). "det" is
      P = [r > r']; ties are left out, and lower the sum further.

  Returns:
    K = 2 rows; X Y (Y - 1) of them for "bt", half as many for "det" (fewer
    with ties). Weights are normalised by the learner.

  Raises:
    UserError: for other labels.
  """
  if labels not in ("bt", "det"):
    raise UserError(f"labels must be 'bt' or 'det', not {labels!r}")
  margin = bandit.rewards[:, :, None] - bandit.rewards[:, None, :]
  if labels == "bt":
    preferred = 0.5 * (1 + np.tanh(0.5 * margin))
  else:
    preferred = (margin > 0).astype(np.float64)
  arms = bandit.mu.shape[1]
  return _pairs(bandit, 2 * preferred * (1 - np.eye(arms)))


def reward_pair_rows(bandit: Bandit) -> Rows:
  """Every unordered pair of two arms of one prompt, with both rewards.

  For regression on reward differences (REBEL), which has no preferred side:
  y < y', weight 2 mu(y) mu(y') / X, sum 1 - mean_x sum_y mu^2. Ties count.

  Returns:
    X Y (Y - 1) / 2 rows, K = 2.
  """
  arms = bandit.mu.shape[1]
  return _pairs(bandit, 2 * np.triu(np.ones((arms, arms)), 1))


def _pairs(bandit: Bandit, factor: np.ndarray) -> Rows:
  """Weight factor * mu mu' / X; factor [X, Y, Y] or [Y, Y]."""
  mu = bandit.mu
  weight = factor * mu[:, :, None] * mu[:, None, :] / len(mu)
  x, first, second = (index.ravel() for index in np.indices(weight.shape))
  return _rows(bandit, x, np.stack([first, second], axis=1), weight.ravel())
