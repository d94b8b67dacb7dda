"""RPO: Faye et al., "Value-Free Policy Optimization via Reward Partitioning".

arXiv:2506.13702. DRO whose value is made of the prompt's logged completions.
"""

import jax
import jax.numpy as jnp

from offalign.losses.registry import register
from offalign.types import Kind, LossOutput, Scores


@register(
  "rpo",
  kind=Kind.GROUP,
  needs=lambda o: (
    "ref_logps",
    "rewards",
    *(("lengths",) if o["per_token"] else ()),
  ),
  scale="tau",
  average=lambda options: options["per_token"],
  positive=("tau",),
  pushes=lambda options: None if options["per_token"] else (1, 1),
  paper="arXiv:2506.13702",
  when=(
    "All the completions of a prompt that matter are logged, each with its "
    "score: the policy is fitted to its closed form over them, without a "
    "value network."
  ),
  formula=(
    r"\frac{1}{2K}\sum_k(\rho_k - (r_k - \hat V)/\tau)^2,"
    r"\ \hat V = \tau\log\sum_j\pi_{\mathrm{ref}}(y_j)\,e^{r_j/\tau}"
  ),
)
def rpo(
  scores: Scores, *, tau: float = 1.0, per_token: bool = True
) -> LossOutput:
  """DRO with V* summed over the logged completions of a prompt.

  Reward Partitioning Optimization. V* = tau log sum_y pi_ref(y) exp(r / tau)
  runs over every y; here the logged ones stand for all. (Others are called
  RPO too, and are not this: Relative Preference Optimization,
  arXiv:2402.10958; Reward-aware Preference Optimization, arXiv:2406.11704;
  and DPO with an SFT term, arXiv:2404.19733 and 2405.16436, which is
  `dpo + 0.2*sft` here.)

  The formula, and means over tokens in place of log pi and log pi_ref, are
  those of the code that its authors published (their tau is 0.7 and 5). They
  have to be means: as sums over tokens, the probabilities of a few long
  completions add up to nearly nothing, V is far too low, and the loss raises
  whatever was logged. Even so V is exact only where the probabilities of the
  logged completions, each of them once, add up to 1; else every prompt is
  pushed up or down as a whole. With a single completion V would be
  r + tau log pi_ref, and the reward would cancel: K is 2 or more here. A
  completion that is logged twice counts twice. A reward offset of a prompt
  cancels.

  Args:
    scores: needs `ref_logps` and `rewards`, and `lengths` if per token;
      K >= 2.
    tau: > 0, weight of the KL regulariser; reward units per nat, for rewards
      of mean 0 and variance 1.
    per_token: log-probs are means over tokens; False for the paper's sums,
      where the log holds all that the reference could write.

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (r - V - tau rho).
  """
  lengths = jnp.maximum(scores.lengths, 1) if per_token else 1.0
  rho = scores.log_ratios / lengths
  terms = scores.ref_logps / lengths + scores.rewards / tau
  value = tau * jax.nn.logsumexp(terms, axis=1, keepdims=True)
  residual = (scores.rewards - value) / tau - rho
  loss = 0.5 * jnp.square(residual).mean(axis=1)
  return LossOutput(
    loss,
    {
      "values/mean": jnp.broadcast_to(value, rho.shape),
      "values/residual": jax.lax.stop_gradient(tau * residual),
    },
  )
