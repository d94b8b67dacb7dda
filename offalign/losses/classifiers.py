"""Losses that judge each side of a pair on its own: NCA, BCO and SPPO."""

import jax
import jax.numpy as jnp

from offalign.losses.registry import register
from offalign.types import Array, Kind, Scores


@register(
  "nca_pair",
  kind=Kind.PAIR,
  needs=("ref_logps",),
  scale="beta",
  positive=("beta",),
  paper="arXiv:2402.05369",
  when=(
    "Pairs, when dpo lowers the likelihood of chosen completions too: this "
    "loss holds it up."
  ),
  formula=(
    r"-\log\sigma(\beta\rho_w) - \tfrac12\log\sigma(-\beta\rho_w)"
    r" - \tfrac12\log\sigma(-\beta\rho_l)"
  ),
)
def nca_pair(scores: Scores, *, beta: float = 0.01) -> Array:
  """Noise contrastive alignment on pairs: Chen et al., section 4.1.

  -log sigmoid(beta rho_w) - 1/2 sum over both of log sigmoid(-beta rho). It
  acts on log-ratios and not on their difference, so that the likelihood of
  chosen completions does not fall. beta is the paper's alpha.

  Args:
    scores: needs `ref_logps`; chosen first.
    beta: > 0, scale of the log-ratios; 1 / nat.

  Returns:
    [B] losses.
  """
  z = beta * scores.log_ratios
  return jax.nn.softplus(-z[:, 0]) + 0.5 * jax.nn.softplus(z).sum(axis=1)


@register(
  "bco_pair",
  kind=Kind.PAIR,
  needs=("ref_logps",),
  scale="beta",
  positive=("beta",),
  paper="arXiv:2404.04656",
  when=(
    "Pairs, where each side should be judged on its own; one term of MPO's "
    "sum, dpo + bco_pair + sft."
  ),
  formula=r"-\log\sigma(\beta\rho_w) - \log\sigma(-\beta\rho_l)",
)
def bco_pair(scores: Scores, *, beta: float = 0.01) -> Array:
  """Binary classification of both sides, without reward shift.

  -log sigmoid(beta rho_w) - log sigmoid(-beta rho_l): TRL's `bco_pair`, the
  quality term of MPO (arXiv:2411.10442). It leaves out the paper's shift;
  EasyDeL subtracts the batch mean of the rewards under the same name.

  Args:
    scores: needs `ref_logps`; chosen first.
    beta: > 0, scale of the log-ratios; 1 / nat.

  Returns:
    [B] losses.
  """
  z = beta * scores.log_ratios
  return jax.nn.softplus(-z[:, 0]) + jax.nn.softplus(z[:, 1])


@register(
  "sppo_hard",
  kind=Kind.PAIR,
  needs=("ref_logps",),
  scale="beta",
  positive=("beta",),
  paper="arXiv:2405.00675",
  when=(
    "Rounds of self-play, with pairs drawn from the current policy; each "
    "side is brought to a target log-ratio of its own."
  ),
  formula=(r"(\rho_w - \frac{1}{2\beta})^2 + (\rho_l + \frac{1}{2\beta})^2"),
)
def sppo_hard(scores: Scores, *, beta: float = 0.001) -> Array:
  """(rho_w - 1/(2 beta))^2 + (rho_l + 1/(2 beta))^2.

  One round of self-play preference optimisation with win rates of 1 and 0
  (Wu et al., section 4; the paper's eta is 1 / beta, and its runs have 1e3).
  TRL's default for beta is 0.1.

  Args:
    scores: needs `ref_logps`; chosen first.
    beta: > 0; the targets are +-1 / (2 beta) nats.

  Returns:
    [B] losses.
  """
  target = jnp.array([[0.5, -0.5]], scores.logps.dtype) / beta
  return jnp.square(scores.log_ratios - target).sum(axis=1)
