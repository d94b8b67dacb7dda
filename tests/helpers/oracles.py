"""Losses that no peer's numbers exist for, in plain float64 numpy.

Each takes a table of columns and options, row by row and completion by
completion, and returns the losses [B] and the gradient [B, K] of their mean.
Gradients are written out by hand, not differentiated.
"""

import numpy as np


def _rows(table, k_loop):
  """Runs k_loop(row) -> (loss, gradient [K]) on each row."""
  found = [
    k_loop({name: column[b] for name, column in table.items()})
    for b in range(len(table["logps"]))
  ]
  losses = np.array([loss for loss, _ in found])
  return losses, np.array([grad for _, grad in found]) / len(found)


def dro_group(table, *, tau=1.0, baseline="delta"):
  def row(r):
    delta = r["rewards"] - tau * (r["logps"] - r["ref_logps"])
    residual = delta - np.mean(delta if baseline == "delta" else r["rewards"])
    # Equation 8 times 1 / tau, a mean over the completions.
    return 0.5 * np.mean(residual**2), -residual / len(residual)

  return _rows(table, row)


def rpo(table, *, tau=1.0, per_token=True):
  def row(r):
    k = len(r["logps"])
    n = r["lengths"] if per_token else np.ones(k)
    parts = [
      np.exp(r["ref_logps"][i] / n[i]) * np.exp(r["rewards"][i] / tau)
      for i in range(k)
    ]
    value = tau * np.log(sum(parts))
    rho = (r["logps"] - r["ref_logps"]) / n
    gap = rho - (r["rewards"] - value) / tau
    return 0.5 * np.mean(gap**2), gap / n / k

  return _rows(table, row)


def a_star_po(table, *, tau=1.0, value_tau=None):
  beta = tau if value_tau is None else value_tau

  def row(r):
    value = beta * np.log(np.mean(np.exp(r["rewards"] / beta)))
    gap = tau * (r["logps"] - r["ref_logps"]) - (r["rewards"] - value)
    return np.mean(gap**2), 2 * tau * gap / len(gap)

  return _rows(table, row)


def dro_forward(table, *, beta=1.0):
  def row(r):
    ratio = np.exp(r["logps"]) / np.exp(r["ref_logps"])
    delta = r["rewards"] - r["values"] - beta * (1 - 1 / ratio)
    return 0.5 * np.mean(delta**2), -delta / len(delta)

  return _rows(table, row)


def pl_dpo(table, *, beta=0.1):
  def row(r):
    z = beta * (r["logps"] - r["ref_logps"])
    loss, grad = 0.0, np.zeros_like(z)
    for k in range(len(z)):
      rivals = [j for j in range(len(z)) if r["rewards"][j] <= r["rewards"][k]]
      total = sum(np.exp(z[j]) for j in rivals)
      loss -= np.log(np.exp(z[k]) / total)
      grad[k] -= beta
      for j in rivals:
        grad[j] += beta * np.exp(z[j]) / total
    return loss, grad

  return _rows(table, row)


def _clipped(ratio, slope, advantage, clip):
  """(surrogate, its derivative) where d ratio = ratio * slope."""
  held = min(max(ratio, 1 - clip), 1 + clip)
  if held * advantage < ratio * advantage:
    return held * advantage, 0.0
  return ratio * advantage, ratio * slope * advantage


def rloo(table, *, beta=0.03, clip=None, behaviour="reference"):
  old = {"reference": "ref_logps", "logged": "behaviour_logps"}[behaviour]

  def row(r):
    k = len(r["logps"])
    reward = r["rewards"] - beta * (r["logps"] - r["ref_logps"])
    loss, grad = 0.0, np.zeros(k)
    for i in range(k):
      advantage = reward[i] - np.mean(np.delete(reward, i))
      value, slope = advantage * r["logps"][i], advantage
      if clip is not None:
        ratio = np.exp(r["logps"][i] - r[old][i])
        value, slope = _clipped(ratio, 1.0, advantage, clip)
      loss -= value / k
      grad[i] -= slope / k
    return loss, grad

  return _rows(table, row)


def grpo(
  table,
  *,
  beta=0.04,
  clip=0.2,
  behaviour="reference",
  scale_rewards=True,
  **by_token,
):
  # The forms by token have an oracle of their own, in test_by_token.
  assert set(by_token.values()) <= {"sequence", "grpo", None}
  old = {"reference": "ref_logps", "logged": "behaviour_logps"}[behaviour]

  def row(r):
    k = len(r["logps"])
    advantage = r["rewards"] - np.mean(r["rewards"])
    if scale_rewards:
      advantage = advantage / (np.std(r["rewards"], ddof=1) + 1e-4)
    loss, grad = 0.0, np.zeros(k)
    for i in range(k):
      n = r["lengths"][i]
      value, slope = advantage[i] * r["logps"][i] / n, advantage[i] / n
      if clip is not None:
        ratio = np.exp((r["logps"][i] - r[old][i]) / n)
        value, slope = _clipped(ratio, 1 / n, advantage[i], clip)
      u = (r["ref_logps"][i] - r["logps"][i]) / n
      loss += (-value + beta * (np.exp(u) - u - 1)) / k
      grad[i] += (-slope + beta * (1 - np.exp(u)) / n) / k
    return loss, grad

  return _rows(table, row)


def una(table, *, beta=0.1, feedback="score"):
  def row(r):
    z = beta * (r["logps"] - r["ref_logps"])
    k = len(z)
    if feedback == "score":
      gap = z - r["rewards"]
      return np.mean(gap**2), 2 * beta * gap / k
    sign = np.where(r["labels"], 1.0, -1.0)
    wrong = 1 / (1 + np.exp(sign * z))
    return np.mean(np.log1p(np.exp(-sign * z))), -beta * sign * wrong / k

  return _rows(table, row)


_ALL = (dro_group, dro_forward, rpo, a_star_po, pl_dpo, rloo, grpo, una)
ORACLES = {f.__name__: f for f in _ALL}
"""Name of the loss -> its oracle."""

BY_TOKEN = {
  "distill",
  "ppo",
  "tdpo1",
  "tdpo2",
  "weighted_dpo",
  "weighted_dro_v",
}
"""Losses by token alone, whose oracles are in tests/losses/test_by_token.py."""

SPECS = [
  "dro_group",
  "dro_group(tau=0.3)",
  "dro_group(baseline=reward)",
  "dro_forward",
  "dro_forward(beta=0.3)",
  "rpo",
  "rpo(tau=0.5)",
  "rpo(tau=0.7, per_token=False)",
  "a_star_po",
  "a_star_po(tau=0.3, value_tau=0.5)",
  "pl_dpo",
  "pl_dpo(beta=0.7)",
  "rloo",
  "rloo(beta=0.0)",
  "rloo(clip=0.2)",
  "rloo(beta=0.5, clip=0.3, behaviour=logged)",
  "grpo",
  "grpo(beta=0.0)",
  "grpo(clip=None)",
  "grpo(scale_rewards=False)",
  "grpo(beta=0.5, clip=0.05, behaviour=logged)",
  "una",
  "una(feedback=binary)",
]
