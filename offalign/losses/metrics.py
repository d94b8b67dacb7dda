"""The metrics every loss logs, under TRL's names.

`rewards/*` are the implicit rewards (scale * log-ratio), `logps/*` are sums.
Entries that a metric does not apply to are NaN and stay out of its mean.
"""

import jax
import jax.numpy as jnp

from offalign.types import Array, Kind, Scores

BY_TOKEN = {"token_logps", "ref_token_logps", "token_mask"}
"""Columns whose sums over a completion are its log-ratio."""


def implicit_rewards(scores: Scores, scale: float, average: bool) -> Array:
  """Computes scale * log-ratio, without gradient.

  A log-ratio is of the whole completion, each token counted once, also where
  the loss weighs tokens: so those of losses can be compared.

  Args:
    scores: with `logps`, and `ref_logps` or log-probs of tokens where the loss
      declares them.
    scale: the factor on log-ratios, `Loss.scale`, e.g. beta.
    average: divide by the completion's tokens.

  Returns:
    [B, K].
  """
  if "ref_logps" in scores.columns:
    raw = scores.log_ratios
  elif scores.columns.keys() >= BY_TOKEN:
    ratios = scores.token_logps - scores.ref_token_logps
    raw = jnp.where(scores.token_mask, ratios, 0.0).sum(axis=-1)
  else:
    raw = scores.logps
  if average:
    raw = raw / jnp.maximum(scores.lengths, 1)
  return jax.lax.stop_gradient(scale * raw)


def standard(kind: Kind, scores: Scores, rewards: Array) -> dict[str, Array]:
  """Computes the metrics that every loss of a kind of feedback logs.

  Args:
    kind: the kind of feedback.
    scores: what the loss saw.
    rewards: [B, K], see `implicit_rewards`.

  Returns:
    Name -> [B] or [B, K].
  """
  logps = jax.lax.stop_gradient(scores.logps)
  if kind is Kind.PAIR:
    return _pair(scores, rewards, logps)
  if "labels" not in scores.columns:
    return {"rewards/mean": rewards, "logps/mean": logps}
  return by_label(rewards, logps, scores.labels)


def by_label(rewards: Array, logps: Array, labels: Array) -> dict[str, Array]:
  """Computes means of chosen and rejected completions by labels [B, K]."""
  nan = jnp.full_like(rewards, jnp.nan)
  return {
    "rewards/chosen": jnp.where(labels, rewards, nan),
    "rewards/rejected": jnp.where(labels, nan, rewards),
    "logps/chosen": jnp.where(labels, logps, nan),
    "logps/rejected": jnp.where(labels, nan, logps),
  }


def _pair(scores: Scores, rewards: Array, logps: Array) -> dict[str, Array]:
  """Metrics of chosen against rejected; ties of the reward stay out."""
  margins = rewards[:, 0] - rewards[:, 1]
  correct = (margins > 0).astype(margins.dtype)
  if "rewards" in scores.columns:
    # Completions in no order: the better one is known by its reward.
    gap = scores.rewards[:, 0] - scores.rewards[:, 1]
    margins = jnp.where(gap == 0, jnp.nan, jnp.sign(gap) * margins)
    correct = (margins > 0).astype(margins.dtype)
    correct = jnp.where(gap == 0, jnp.nan, correct)
    rewards, logps = (
      jnp.where(
        gap[:, None] == 0,
        jnp.nan,
        jnp.where(gap[:, None] < 0, column[:, ::-1], column),
      )
      for column in (rewards, logps)
    )
  return {
    "rewards/chosen": rewards[:, 0],
    "rewards/rejected": rewards[:, 1],
    "rewards/margins": margins,
    "rewards/accuracies": correct,
    "logps/chosen": logps[:, 0],
    "logps/rejected": logps[:, 1],
  }
