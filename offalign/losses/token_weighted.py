"""DPO and DRO whose log-ratios are weighted sums over tokens."""

import jax
import jax.numpy as jnp

from offalign.losses.dro import regressed
from offalign.losses.registry import register
from offalign.types import Array, Kind, LossOutput, Scores

_TOKENS = ("token_logps", "ref_token_logps", "token_mask", "token_weights")


def log_ratios(scores: Scores) -> Array:
  """[B, K] sum over tokens of weight * log(pi / pi_ref)."""
  ratios = scores.token_logps - scores.ref_token_logps
  weighted = scores.token_weights * ratios
  return jnp.where(scores.token_mask, weighted, 0.0).sum(axis=-1)


@register(
  "weighted_dpo",
  kind=Kind.PAIR,
  needs=_TOKENS,
  scale="beta",
  positive=("beta",),
  paper="arXiv:2305.18290",
  when=(
    "Pairs of which it is known where they differ: spans, turns or steps that "
    "should count for more, or not at all."
  ),
  formula=r"-\log\sigma(\beta(\tilde\rho_w - \tilde\rho_l)),"
  r"\ \tilde\rho = \sum_t w_t \log(\pi_t/\pi_{\mathrm{ref},t})",
)
def weighted_dpo(scores: Scores, *, beta: float = 0.1) -> LossOutput:
  """DPO, equation 7, with a log-ratio that is a weighted sum over tokens.

  With weights of 1 it is `dpo`; a weight of 0 leaves a token out, as of a turn
  that nobody judged. The weights are part of the data, not learned.

  Args:
    scores: needs `token_logps`, `ref_token_logps`, `token_mask` and
      `token_weights`; chosen first.
    beta: > 0, scale of the log-ratios; 1 / nat.

  Returns:
    [B] losses, and the metric `token_weights/log_ratio`, the weighted
    log-ratio; nats.
  """
  rho = log_ratios(scores)
  loss = jax.nn.softplus(-beta * (rho[:, 0] - rho[:, 1]))
  return LossOutput(
    loss, {"token_weights/log_ratio": jax.lax.stop_gradient(rho)}
  )


@register(
  "weighted_dro_v",
  kind=Kind.SINGLE,
  needs=("rewards", "values", *_TOKENS),
  scale="tau",
  positive=("tau",),
  paper="arXiv:2405.19107",
  when=(
    "A score on single completions of which parts alone were judged, such as "
    "one turn of a conversation: dro_v on those tokens."
  ),
  formula=r"\frac{1}{2}(r - V(x) - \tau\tilde\rho)^2,"
  r"\ \tilde\rho = \sum_t w_t \log(\pi_t/\pi_{\mathrm{ref},t})",
)
def weighted_dro_v(scores: Scores, *, tau: float = 1.0) -> LossOutput:
  """`dro_v` with a log-ratio that is a weighted sum over tokens.

  The value of the loss is equation 4 of the paper; its gradients are those of
  `dro_v`, so that the policy's is -delta sum_t w_t grad log pi_t. With weights
  of 1 it is `dro_v`.

  Args:
    scores: needs `rewards`, `values`, `token_logps`, `ref_token_logps`,
      `token_mask` and `token_weights`; any K.
    tau: > 0, weight of the KL regulariser; reward units per nat.

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (delta).
  """
  rho = log_ratios(scores)
  delta = scores.rewards - scores.values - tau * rho
  return regressed(scores, delta, rho)
