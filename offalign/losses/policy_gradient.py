"""Offline policy gradients on groups of logged completions: RLOO and GRPO."""

from typing import Literal

import jax
import jax.numpy as jnp

from offalign.losses import stable
from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Array, Kind, LossOutput, Scores

Behaviour = Literal["reference", "logged"]


def _check(options: Options) -> str | None:
  clip = options["clip"]
  if options["beta"] < 0:
    return "beta must not be negative"
  if clip is not None and not 0.0 < clip < 1.0:
    return f"clip must be above 0 and below 1, or None, not {clip}"
  if clip is None and options["behaviour"] != "reference":
    return "behaviour is read where ratios are clipped alone; give clip too"
  return None


def _needs(options: Options) -> tuple[str, ...]:
  logged = options["behaviour"] == "logged"
  clipped = options["clip"] is not None
  ref = options["beta"] > 0 or (clipped and not logged)
  return (
    "rewards",
    *(("ref_logps",) if ref else ()),
    *(("behaviour_logps",) if logged else ()),
  )


def _scale(options: Options) -> float:
  return options["beta"] or 1.0


def _surrogate(
  scores: Scores,
  advantages: Array,
  lengths: Array | float,
  clip: float | None,
  behaviour: Behaviour,
) -> tuple[Array, dict[str, Array]]:
  """[B, K] to maximise, and its metrics; log-probs are divided by lengths."""
  advantages = jax.lax.stop_gradient(advantages)
  if clip is None:
    return advantages * scores.logps / lengths, {}
  logged = behaviour == "logged"
  old = scores.behaviour_logps if logged else scores.ref_logps
  ratio = stable.exp((scores.logps - old) / lengths)
  held = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
  value = jnp.minimum(ratio * advantages, held * advantages)
  outside = (value != ratio * advantages).astype(ratio.dtype)
  return value, {"clip_ratio": outside}


@register(
  "rloo",
  kind=Kind.GROUP,
  needs=_needs,
  scale=_scale,
  check=_check,
  paper="arXiv:2402.14740",
  when=(
    "Groups of scored completions, as a policy gradient with a "
    "leave-one-out baseline; with clip and logged log-probs for data of "
    "another policy. Without clip it is dro_group, times K / (K - 1)."
  ),
  formula=(
    r"-\frac1K\sum_k (R_k - \frac{1}{K-1}\sum_{j\ne k} R_j)\log\pi_k,"
    r"\ R = r - \beta\rho"
  ),
)
def rloo(
  scores: Scores,
  *,
  beta: float = 0.03,
  clip: float | None = None,
  behaviour: Behaviour = "reference",
) -> LossOutput:
  """REINFORCE with a leave-one-out baseline, on logged completions.

  Ahmadian et al.: the KL penalty is part of the reward,
  R = r - beta rho, and the baseline of a completion is the mean R of the
  prompt's others. The completions are logged and not drawn from the policy:
  without `clip` the gradient is that of the sum over logged completions,
  which makes it `dro_group` (tau = beta) times K / (K - 1); with it, ratios
  to the policy that wrote them are clipped as in PPO.

  Args:
    scores: needs `rewards`, `ref_logps` if beta > 0 or if it is the
      behaviour that ratios are to, and `behaviour_logps` if logged; K >= 2.
    beta: >= 0, weight of the KL penalty; reward units per nat.
    clip: None, or the PPO range of pi / pi_behaviour about 1, in (0, 1).
    behaviour: whose log-probs the ratio is to: "reference" or "logged".

  Returns:
    [B] losses (means over K; a surrogate, whose gradient alone has meaning),
    `advantages`, and `clip_ratio` if clipped.
  """
  reward = scores.rewards
  if beta:
    reward = reward - beta * jax.lax.stop_gradient(scores.log_ratios)
  others = reward.shape[1] - 1
  advantages = (reward - reward.mean(axis=1, keepdims=True)) * (1 + 1 / others)
  value, metrics = _surrogate(scores, advantages, 1.0, clip, behaviour)
  return LossOutput(-value.mean(axis=1), {"advantages": advantages, **metrics})


@register(
  "grpo",
  kind=Kind.GROUP,
  needs=lambda o: (*_needs(o), "lengths"),
  scale=_scale,
  average=True,
  check=_check,
  paper="arXiv:2402.03300",
  when=(
    "Groups of scored completions with logged log-probs, as GRPO's one "
    "inner step on stored rollouts. For data of another policy, dro_group "
    "makes fewer assumptions."
  ),
  formula=(
    r"-\frac1K\sum_k \min(w_k A_k, \mathrm{clip}(w_k, 1\pm\epsilon) A_k)"
    r" + \beta\,\mathrm{k3},\ w = (\pi/\pi_b)^{1/|y|},"
    r"\ A = \frac{r - \bar r}{\mathrm{std}\, r}"
  ),
)
def grpo(
  scores: Scores,
  *,
  beta: float = 0.04,
  clip: float | None = 0.2,
  behaviour: Behaviour = "reference",
  scale_rewards: bool = True,
) -> LossOutput:
  """Group-normalised policy gradient on logged completions.

  Shao et al., equations 3 and 4, with the reward's z-score within the prompt
  as the advantage. Logged log-probs are of sequences, so the ratio is of
  sequences too, to the power 1 / |y| (GSPO, arXiv:2507.18071, equation 7);
  where policy and behaviour agree its gradient is the paper's. The standard
  deviation is the unbiased one plus 1e-4, as in TRL.

  The KL term is not the paper's, and weaker. The paper has the mean over
  tokens of k3 = exp(u) - u - 1, u the log-ratio of a token, reference over
  policy; this is k3 of the mean log-ratio, u = -rho / |y|, which is smaller
  (Jensen), since what single tokens win and lose cancels in the mean. With 64
  tokens of independent log-ratios of deviation 0.05, 0.2, 0.5 and 1 it is 65,
  65, 68 and 82 times smaller, so that beta = 0.04 holds the policy as 0.0006
  does there. A beta from elsewhere has to be tuned again. Besides, k3 is an
  estimate of the KL on samples of the policy; on logged ones neither form is.

  Args:
    scores: needs `rewards`, `lengths`, `ref_logps` if beta > 0 or if it is
      the behaviour that ratios are to, and `behaviour_logps` if logged;
      K >= 2.
    beta: >= 0, weight of the KL term.
    clip: the range of the ratio about 1, in (0, 1); None for advantages
      times mean log-probs, without ratio.
    behaviour: whose log-probs the ratio is to: "reference" or "logged".
    scale_rewards: divide by the standard deviation; False is Dr. GRPO's
      advantage (arXiv:2503.20783).

  Returns:
    [B] losses (means over K), `advantages`, `kl` if beta > 0, and
    `clip_ratio` if clipped.
  """
  lengths = jnp.maximum(scores.lengths, 1)
  advantages = scores.rewards - scores.rewards.mean(axis=1, keepdims=True)
  if scale_rewards:
    deviation = jnp.std(advantages, axis=1, ddof=1, keepdims=True)
    advantages = advantages / (deviation + 1e-4)
  value, metrics = _surrogate(scores, advantages, lengths, clip, behaviour)
  loss = -value
  if beta:
    u = -scores.log_ratios / lengths
    kl = stable.expm1(u) - u
    loss = loss + beta * kl
    metrics["kl"] = jax.lax.stop_gradient(kl)
  return LossOutput(loss.mean(axis=1), {"advantages": advantages, **metrics})
