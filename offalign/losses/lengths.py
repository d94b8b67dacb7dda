"""DPO with log-ratios per token: length-normalised DPO."""

import jax
import jax.numpy as jnp

from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Array, Kind, Scores


@register(
  "dpo_norm",
  kind=Kind.PAIR,
  needs=("ref_logps", "lengths"),
  scale="beta",
  average=True,
  positive=("beta",),
  paper="Lambert et al., Tulu 3, arXiv:2411.15124",
  when=(
    "Pairs of very unequal lengths, when dpo makes completions longer; beta"
    " is then per token."
  ),
  formula=(r"-\log\sigma(\beta(\frac{\rho_w}{|y_w|} - \frac{\rho_l}{|y_l|}))"),
)
def dpo_norm(scores: Scores, *, beta: float = 5.0) -> Array:
  """DPO on log-ratios divided by their completion's tokens.

  Open-instruct's `dpo_norm` with its beta of 5; TRL's `sigmoid_norm`, whose
  default for beta is that of sums, 0.1.

  Args:
    scores: needs `ref_logps` and `lengths`; chosen first.
    beta: > 0, scale of the mean log-ratios; tokens / nat.

  Returns:
    [B] losses.
  """
  rho = scores.log_ratios / jnp.maximum(scores.lengths, 1)
  return jax.nn.softplus(-beta * (rho[:, 0] - rho[:, 1]))


def _check(options: Options) -> str | None:
  alpha = options["alpha"]
  if not 0.0 <= alpha < 1.0:
    return f"alpha must be at least 0 and below 1 (which is dpo), not {alpha}"
  return None


@register(
  "ld_dpo",
  kind=Kind.PAIR,
  needs=("ref_logps", "prefix_logps", "ref_prefix_logps"),
  scale="beta",
  positive=("beta",),
  check=_check,
  paper="arXiv:2409.06411",
  when=(
    "Pairs in which the chosen completion is often the longer one, when dpo"
    " makes completions long; tokens beyond the shorter one count for less."
  ),
  formula=(
    r"-\log\sigma(\beta(\tilde\rho_w - \tilde\rho_l)),\ "
    r"\tilde\rho = \alpha\rho + (1-\alpha)\rho_{\le\min(|y_w|,|y_l|)}"
  ),
)
def ld_dpo(scores: Scores, *, beta: float = 0.1, alpha: float = 0.5) -> Array:
  """DPO in which tokens beyond the shorter completion count by alpha.

  Liu et al.: log-probs of policy and reference are sums over
  the first min(|y_w|, |y_l|) tokens plus alpha times the rest. The paper
  tunes alpha for each model; TRL has no default (`ld_alpha`). A run stores
  both sums of the reference before its first step. Logged rewards are
  beta rho, of whole completions.

  Args:
    scores: needs `ref_logps`, `prefix_logps` and `ref_prefix_logps`; chosen
      first.
    beta: > 0, scale of the margin; 1 / nat.
    alpha: in [0, 1), weight of the tokens beyond the shorter completion.

  Returns:
    [B] losses.
  """
  prefix = scores.prefix_logps - scores.ref_prefix_logps
  rho = alpha * scores.log_ratios + (1.0 - alpha) * prefix
  return jax.nn.softplus(-beta * (rho[:, 0] - rho[:, 1]))
