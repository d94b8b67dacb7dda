"""The world of the `theory` track: a contextual bandit, known exactly.

X prompts, Y arms. Everything that a method could estimate is a table here,
so what a loss converges to can be compared with pi* and V* in closed form.
`rows` of the tables are in bandit_rows.py, the metrics in bandit_metrics.py.
"""

import dataclasses

import numpy as np

from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Bandit:
  """Prompts x are uniform; data come from mu; float64 throughout.

  Attributes:
    log_ref: [X, Y] log pi_ref(y|x); nats.
    mu: [X, Y] the behaviour policy; rows sum to 1.
    rewards: [X, Y] r(x, y), of mean 0 under the data.
    name: for boards, e.g. "rho=0.5, mu != ref".
  """

  log_ref: np.ndarray
  mu: np.ndarray
  rewards: np.ndarray
  name: str

  @property
  def between_share(self) -> float:
    """The share of the reward variance that lies between prompts: rho."""
    mean = (self.mu * self.rewards).sum(axis=1)
    square = (self.mu * self.rewards**2).sum(axis=1).mean()
    return float(mean.var() / (square - mean.mean() ** 2))


def make(
  rho: float,
  *,
  prompts: int = 32,
  arms: int = 10,
  off_policy: bool = False,
  const_v: bool = False,
  binary: bool = False,
  tau: float = 1.0,
  seed: int,
) -> Bandit:
  """Draws a bandit; r = sqrt(rho) b(x) + sqrt(1 - rho) e(x, y).

  e has mean 0 and variance 1 under mu for each prompt, b over the prompts,
  so r has mean 0 and variance 1 under the data and rho of it lies between
  prompts. One seed draws the same pi_ref, mu, e and b for every rho and
  every option, so scenarios of a seed differ in what they name alone.

  Args:
    rho: 0 .. 1.
    prompts: X >= 2.
    arms: Y >= 2.
    off_policy: mu is a draw of its own instead of pi_ref.
    const_v: subtracts tau log E_ref exp(r / tau) prompt by prompt, and then
      the mean over the data, so that V* at this tau is the same for all
      prompts. The variance is not brought back to 1, as that would undo it;
      the subtraction takes b out whatever rho is.
    binary: r = [sqrt(rho) b + sqrt(1 - rho) e > 0], normalised to mean 0 and
      variance 1; the share between prompts is then only near rho.
    tau: > 0, for `const_v`, and 1 without it.
    seed: >= 0.

  Raises:
    UserError: for an argument out of range.
  """
  _check(rho, prompts, arms, const_v, tau)
  rng = np.random.default_rng(seed)
  log_ref = log_softmax(rng.standard_normal((prompts, arms)))
  log_mu = log_softmax(rng.standard_normal((prompts, arms)))
  e = rng.standard_normal((prompts, arms))
  b = rng.standard_normal((prompts, 1))
  mu = np.exp(log_mu if off_policy else log_ref)
  e -= (mu * e).sum(axis=1, keepdims=True)
  e /= np.sqrt((mu * e**2).sum(axis=1, keepdims=True))
  b = (b - b.mean()) / b.std()
  rewards = np.sqrt(rho) * b + np.sqrt(1 - rho) * e
  if binary:
    rewards = (rewards > 0).astype(np.float64)
  weight = mu / prompts
  rewards = rewards - (weight * rewards).sum()
  rewards /= np.sqrt((weight * rewards**2).sum())
  if const_v:
    rewards -= tau * logsumexp(log_ref + rewards / tau)
    rewards -= (weight * rewards).sum()
  options = {"mu != ref": off_policy, "constant V*": const_v, "binary": binary}
  name = ", ".join([f"rho={rho:g}", *(k for k, v in options.items() if v)])
  return Bandit(log_ref, mu, rewards, name)


def _check(
  rho: float, prompts: int, arms: int, const_v: bool, tau: float
) -> None:
  if not 0 <= rho <= 1:
    raise UserError(f"rho is a share of variance: 0 .. 1, not {rho}")
  if prompts < 2 or arms < 2:
    raise UserError(
      f"a bandit needs two prompts and two arms, not {prompts} and {arms}"
    )
  if not tau > 0:
    raise UserError(f"tau must be above 0, not {tau}")
  if tau != 1 and not const_v:
    raise UserError("tau shapes the rewards only where const_v is set")


def empirical(bandit: Bandit, k: int, rng: np.random.Generator) -> Bandit:
  """The bandit as k samples of mu per prompt show it: mu becomes counts / k.

  pi* and V* are those of the true rewards, so metrics measure what was lost.

  Args:
    bandit: where to sample.
    k: >= 1 completions of each prompt.
    rng: where the randomness comes from.
  """
  counts = rng.multinomial(k, bandit.mu)
  name = f"{bandit.name}, {k} samples a prompt"
  return dataclasses.replace(bandit, mu=counts / k, name=name)


def logsumexp(logits: np.ndarray) -> np.ndarray:
  """Over the arms: [X, Y] -> [X, 1], without overflow."""
  top = logits.max(axis=1, keepdims=True)
  return top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Over the arms: [X, Y] -> [X, Y] log-probs."""
  # The largest logit first, so that a huge one does not swallow the sum.
  below = logits - logits.max(axis=1, keepdims=True)
  return below - logsumexp(below)
