"""A*-PO: Brantley et al., arXiv:2505.20686, on stored completions."""

import jax
import jax.numpy as jnp
import numpy as np

from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Kind, LossOutput, Scores


def _check(options: Options) -> str | None:
  value_tau = options["value_tau"]
  if value_tau is not None and not value_tau > 0:
    return f"value_tau must be above 0, or None for tau, not {value_tau}"
  return None


@register(
  "a_star_po",
  kind=Kind.GROUP,
  needs=("ref_logps", "rewards"),
  scale="tau",
  positive=("tau",),
  check=_check,
  paper="arXiv:2505.20686",
  when=(
    "Several scored completions a prompt that the reference itself wrote: V "
    "is estimated from their rewards once, whatever the policy does."
  ),
  formula=(
    r"\frac{1}{K}\sum_k(\tau\rho_k - (r_k - \hat V))^2,"
    r"\ \hat V = \tau_V\log\frac{1}{K}\sum_j e^{r_j/\tau_V}"
  ),
)
def a_star_po(
  scores: Scores, *, tau: float = 1.0, value_tau: float | None = None
) -> LossOutput:
  """DRO with V* = tau log E_ref exp(r / tau) from samples of the reference.

  Optimal advantage regression, offline: the paper estimates V* from stored
  samples of the reference, and regresses tau rho on r - V* over one fresh
  sample of the policy a step. Here the stored samples serve for both. V* needs
  samples of pi_ref: on completions of another policy, V is that policy's and
  the optimum moves (`dro_group` is right for any). From few samples V is too
  low on average (Jensen), most where tau is small against the spread of the
  rewards; what the policy of a wrong V is, Proposition 1 of the DRO paper
  says (arXiv:2405.19107).

  The paper has two temperatures, 0.5 for V and 0.001 for the regression, and
  rewards of 0 and 1. With two, the optimum is of neither; None makes them one.

  Args:
    scores: needs `ref_logps` and `rewards`; K >= 2 completions that the
      reference wrote.
    tau: > 0, of the regression (the paper's beta_2); reward units per nat.
    value_tau: > 0, of V (the paper's beta_1); None = tau.

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (r - V - tau rho).
  """
  beta = tau if value_tau is None else value_tau
  rewards = scores.rewards
  total = jax.nn.logsumexp(rewards / beta, axis=1, keepdims=True)
  value = beta * (total - np.log(rewards.shape[1]))
  residual = rewards - value - tau * scores.log_ratios
  return LossOutput(
    jnp.square(residual).mean(axis=1),
    {
      "values/mean": jnp.broadcast_to(value, residual.shape),
      "values/residual": jax.lax.stop_gradient(residual),
    },
  )
