"""TDPO: DPO with the KL divergence from the reference at every token."""

import jax
import jax.numpy as jnp

from offalign.losses.registry import register
from offalign.types import Array, Kind, LossOutput, Scores

_NEEDS = ("ref_logps", "token_kls", "token_mask")


def sequential_kls(scores: Scores) -> Array:
  """[B, K] sums over a completion's tokens of KL(pi_ref || pi); nats."""
  return jnp.where(scores.token_mask, scores.token_kls, 0.0).sum(axis=-1)


def _output(logits: Array, beta: float, kls: Array) -> LossOutput:
  kls = jax.lax.stop_gradient(kls)
  return LossOutput(
    jax.nn.softplus(-beta * logits),
    {"kl/chosen": kls[:, 0], "kl/rejected": kls[:, 1]},
  )


@register(
  "tdpo1",
  kind=Kind.PAIR,
  needs=_NEEDS,
  scale="beta",
  positive=("beta",),
  paper="arXiv:2404.11999",
  when=(
    "Pairs, where the policy must stay near the reference at every token; "
    "`tdpo2` is what the paper recommends."
  ),
  formula=r"-\log\sigma(\beta(\rho_w - \rho_l) - \beta(D_l - D_w)),"
  r"\ D = \sum_t \mathrm{KL}(\pi_{\mathrm{ref},t}\,\|\,\pi_t)",
)
def tdpo1(scores: Scores, *, beta: float = 0.1) -> LossOutput:
  """TDPO1, the first form of token-level DPO (Zeng et al., 2024).

  D, the sequential KL divergence, is a sum over the tokens of a completion, and
  at each of these over the whole vocabulary. The reference is needed as a
  model: log-probs of the logged tokens alone do not suffice.

  Args:
    scores: needs `ref_logps`, `token_kls` and `token_mask`; chosen first.
    beta: > 0, scale of the log-ratios; 1 / nat.

  Returns:
    [B] losses, and the metrics `kl/chosen` and `kl/rejected`, the sequential
    KL divergences; nats.
  """
  rho, kls = scores.log_ratios, sequential_kls(scores)
  logits = rho[:, 0] - rho[:, 1] - (kls[:, 1] - kls[:, 0])
  return _output(logits, beta, kls)


@register(
  "tdpo2",
  kind=Kind.PAIR,
  needs=_NEEDS,
  scale="beta",
  positive=("beta", "alpha"),
  paper="arXiv:2404.11999",
  when=(
    "Pairs, where DPO drifts far from the reference: the distance at every "
    "token of rejected completions is held to that of chosen ones."
  ),
  formula=r"-\log\sigma(\beta(\rho_w - \rho_l)"
  r" - \alpha\beta(D_l - \mathrm{sg}(D_w))),"
  r"\ D = \sum_t \mathrm{KL}(\pi_{\mathrm{ref},t}\,\|\,\pi_t)",
)
def tdpo2(
  scores: Scores, *, beta: float = 0.1, alpha: float = 0.5
) -> LossOutput:
  """TDPO2, the second form of token-level DPO (Zeng et al., 2024).

  As `tdpo1`, but the term of divergences is weighted by alpha, and the
  divergence of the chosen completion, D_w, gets no gradient.

  Args:
    scores: needs `ref_logps`, `token_kls` and `token_mask`; chosen first.
    beta: > 0, scale of the log-ratios; 1 / nat.
    alpha: > 0, weight of the difference of divergences; without a unit.

  Returns:
    [B] losses, and the metrics `kl/chosen` and `kl/rejected`, the sequential
    KL divergences; nats.
  """
  rho, kls = scores.log_ratios, sequential_kls(scores)
  further = kls[:, 1] - jax.lax.stop_gradient(kls[:, 0])
  return _output(rho[:, 0] - rho[:, 1] - alpha * further, beta, kls)
