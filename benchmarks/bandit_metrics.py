"""What a policy on a bandit is worth, exactly: no sampling, no estimates."""

import dataclasses
import math

import numpy as np

from benchmarks.bandit_world import Bandit, log_softmax, logsumexp
from offalign.errors import UserError

_MAX_DOUBLINGS = 60
_BISECTIONS = 80


@dataclasses.dataclass(frozen=True)
class Optimum:
  """The best policy for J(pi) = E r - tau KL(pi || pi_ref).

  Attributes:
    log_policy: [X, Y] log pi*(y|x), pi* ~ pi_ref exp(r / tau).
    values: [X] V*(x) = tau log E_ref exp(r / tau), the J of each prompt.
  """

  log_policy: np.ndarray
  values: np.ndarray


def optimum(bandit: Bandit, tau: float = 1.0) -> Optimum:
  """The closed form; tau > 0 in reward units per nat.

  Raises:
    UserError: for a tau that is not above 0.
  """
  if not tau > 0:
    raise UserError(f"tau must be above 0, not {tau}")
  logits = bandit.log_ref + bandit.rewards / tau
  return Optimum(log_softmax(logits), tau * logsumexp(logits)[:, 0])


def forward_optimum(bandit: Bandit, beta: float = 1.0) -> Optimum:
  """The best policy for E r - beta KL(pi_ref || pi), and lambda(x) - beta.

  pi* = beta pi_ref / (lambda - r), and lambda > max r makes it sum to 1. It
  does so between max (r + beta pi_ref) and max r + beta, and is found there by
  bisection.

  Raises:
    UserError: for a beta that is not above 0.
  """
  if not beta > 0:
    raise UserError(f"beta must be above 0, not {beta}")
  ref, rewards = np.exp(bandit.log_ref), bandit.rewards
  low = (rewards + beta * ref).max(axis=1, keepdims=True)
  high = rewards.max(axis=1, keepdims=True) + beta
  for _ in range(_BISECTIONS):
    middle = 0.5 * (low + high)
    much = (beta * ref / (middle - rewards)).sum(axis=1, keepdims=True) > 1
    low, high = np.where(much, middle, low), np.where(much, high, middle)
  policy = beta * ref / (high - rewards)
  return Optimum(np.log(policy), high[:, 0] - beta)


def forward_regret(
  bandit: Bandit, log_policy: np.ndarray, beta: float = 1.0
) -> float:
  """(J* - J) / (J* - J_ref) for J = E r - beta KL(pi_ref || pi).

  Args:
    bandit: the tables.
    log_policy: [X, Y], normalised.
    beta: > 0, in units of the reward.
  """

  def objective(log_p: np.ndarray) -> float:
    return _reward(bandit, log_p) - beta * _kl(bandit.log_ref, log_p)

  best = objective(forward_optimum(bandit, beta).log_policy)
  return (best - objective(log_policy)) / (best - objective(bandit.log_ref))


@dataclasses.dataclass(frozen=True)
class Metrics:
  """Means over prompts; KL in nats.

  Attributes:
    objective: J(pi) = E r - tau KL(pi || pi_ref).
    regret: (J* - J) / (J* - J_ref): 0 for pi*, 1 for what is no better than
      pi_ref, above 1 for what is worse than doing nothing.
    kl: KL(pi || pi_ref).
    win_rate: against pi_ref on the same prompt, ties 1/2.
    efficiency: the reward gain as a share of what the best policy of the
      same KL gains; at most 1, whatever tau; NaN at pi_ref itself.
    kl_from_optimum: KL(pi* || pi).
    reward: E r.
    value_rmse: sqrt(mean (V - V*)^2), or NaN without values.
  """

  objective: float
  regret: float
  kl: float
  win_rate: float
  efficiency: float
  kl_from_optimum: float
  reward: float
  value_rmse: float


def metrics(
  bandit: Bandit,
  logits: np.ndarray,
  values: np.ndarray | None = None,
  *,
  tau: float = 1.0,
) -> Metrics:
  """Evaluates a policy, and the values learned with it.

  Args:
    bandit: the tables.
    logits: [X, Y], normalised or not; the policy is their softmax.
    values: [X] V(x), or None where there is none.
    tau: > 0 of the objective; reward units per nat.

  Raises:
    UserError: for a wrong shape or a tau that is not above 0.
  """
  logits = np.asarray(logits, np.float64)
  if logits.shape != bandit.log_ref.shape:
    raise UserError(
      f"logits have shape {logits.shape}, the bandit {bandit.log_ref.shape}"
    )
  best = optimum(bandit, tau)
  log_policy = log_softmax(logits)
  reward, kl = _reward(bandit, log_policy), _kl(log_policy, bandit.log_ref)
  # J* - J = tau KL(pi || pi*), which keeps its precision near 0.
  regret = _kl(log_policy, best.log_policy) / _kl(
    bandit.log_ref, best.log_policy
  )
  return Metrics(
    objective=reward - tau * kl,
    regret=regret,
    kl=kl,
    win_rate=win_rate(bandit, log_policy),
    efficiency=efficiency(bandit, log_policy),
    kl_from_optimum=_kl(best.log_policy, log_policy),
    reward=reward,
    value_rmse=_rmse(values, best.values),
  )


def win_rate(bandit: Bandit, log_policy: np.ndarray) -> float:
  """P(r(x, y) > r(x, y')), y ~ pi and y' ~ pi_ref, ties 1/2."""
  r = bandit.rewards
  beats = (r[:, :, None] > r[:, None, :]) + 0.5 * (
    r[:, :, None] == r[:, None, :]
  )
  chances = np.einsum(
    "xy,xyz,xz->x", np.exp(log_policy), beats, np.exp(bandit.log_ref)
  )
  return float(chances.mean())


def efficiency(bandit: Bandit, log_policy: np.ndarray) -> float:
  """The gain in E r over pi_ref as a share of the frontier's at equal KL.

  Args:
    bandit: the tables.
    log_policy: [X, Y], normalised.

  Returns:
    At most 1 up to rounding; NaN where the KL is below 1e-12, too close to
    pi_ref to tell.
  """
  kl = _kl(log_policy, bandit.log_ref)
  if kl < 1e-12:
    return math.nan
  base = _reward(bandit, bandit.log_ref)
  tilt = _tilt(bandit, inverse_tau(bandit, kl))
  return (_reward(bandit, log_policy) - base) / (_reward(bandit, tilt) - base)


def inverse_tau(bandit: Bandit, kl: float) -> float:
  """The s for which pi_ref exp(s r) / Z has this KL from pi_ref.

  By bisection, as KL rises with s. Where `kl` is more than the best arms
  alone have, which no tilt reaches, a bound on s at which the policy is
  greedy to machine precision.

  Args:
    bandit: the tables.
    kl: > 0, nats.
  """

  def reaches(s: float) -> bool:
    return _kl(_tilt(bandit, s), bandit.log_ref) >= kl

  high = 1.0
  for _ in range(_MAX_DOUBLINGS):
    if reaches(high):
      break
    high *= 2.0
  else:
    return high
  low = 0.0
  for _ in range(_BISECTIONS):
    middle = 0.5 * (low + high)
    low, high = (low, middle) if reaches(middle) else (middle, high)
  return 0.5 * (low + high)


def _tilt(bandit: Bandit, s: float) -> np.ndarray:
  """log of pi_ref exp(s r) / Z; at huge s too: the best arms keep log_ref."""
  best = bandit.rewards.max(axis=1, keepdims=True)
  return log_softmax(bandit.log_ref + s * (bandit.rewards - best))


def _reward(bandit: Bandit, log_policy: np.ndarray) -> float:
  """E r under a policy [X, Y]."""
  return float((np.exp(log_policy) * bandit.rewards).sum(axis=1).mean())


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> float:
  """KL(p || q), mean over prompts; q above 0 wherever p is."""
  u = log_p - log_q
  # sum p u = sum (p u - p + q), whose terms are >= 0 and keep their relative
  # precision where p and q are close. Each form is safe on its side of 0.
  ahead = np.exp(log_p) * (u + np.expm1(-np.maximum(u, 0.0)))
  behind = np.minimum(u, 0.0)
  behind = np.exp(log_q) * (behind * np.exp(behind) - np.expm1(behind))
  return float(np.where(u > 0, ahead, behind).sum(axis=1).mean())


def _rmse(values: np.ndarray | None, best: np.ndarray) -> float:
  if values is None:
    return math.nan
  if np.shape(values) != best.shape:
    raise UserError(
      f"values have shape {np.shape(values)}, there are {best.shape} prompts"
    )
  return float(np.sqrt(np.square(values - best).mean()))
