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
  clip_high: float | None = None,
) -> tuple[Array, dict[str, Array]]:
  """[B, K] to maximise, and its metrics; log-probs are divided by lengths."""
  advantages = jax.lax.stop_gradient(advantages)
  if clip is None:
    return advantages * scores.logps / lengths, {}
  logged = behaviour == "logged"
  old = scores.behaviour_logps if logged else scores.ref_logps
  ratio = stable.exp((scores.logps - old) / lengths)
  high = clip if clip_high is None else clip_high
  held = jnp.clip(ratio, 1.0 - clip, 1.0 + high)
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


def _grpo_needs(options: Options) -> tuple[str, ...]:
  logged = options["behaviour"] == "logged"
  clipped = options["clip"] is not None
  by_token = options["ratio"] == "token"
  to_ref = clipped and not logged  # whose ratios are to the reference
  kl = options["kl"] if options["beta"] > 0 else ""
  declared = {
    "rewards": True,
    "ref_logps": kl == "sequence" or (to_ref and not by_token),
    "ref_token_logps": kl == "token" or (to_ref and by_token),
    "behaviour_logps": logged and not by_token,
    "behaviour_token_logps": logged and by_token,
    "token_logps": by_token or kl == "token",
    "token_mask": by_token or kl == "token",
    "length_mean": options["loss_type"] in ("dapo", "cispo"),
    "lengths": not by_token and kl != "token",
  }
  return tuple(name for name, needed in declared.items() if needed)


def _grpo_check(options: Options) -> str | None:
  problem = _check(options)
  if problem:
    return problem
  kind, width = options["loss_type"], options["max_completion_length"]
  if kind != "grpo" and options["ratio"] != "token":
    return f"loss_type {kind!r} weighs tokens; give ratio=token too"
  if options["ratio"] == "token" and options["clip"] is None:
    return "ratio=token is read where ratios are clipped alone; give clip too"
  if (kind == "dr_grpo") != (width is not None):
    return (
      "max_completion_length goes with loss_type=dr_grpo, and is its divisor"
    )
  if width is not None and width < 1:
    return f"max_completion_length must be at least 1, not {width}"
  high = options["clip_high"]
  if high is not None and options["clip"] is None:
    return "clip_high is the upper side of clip; give clip too"
  if high is not None and not high > 0:
    return f"clip_high must be above 0, not {high}"
  if options["kl"] == "token" and not options["beta"]:
    return "kl is read where beta is above 0 alone"
  return None


@register(
  "grpo",
  kind=Kind.GROUP,
  needs=_grpo_needs,
  scale=_scale,
  average=lambda options: "lengths" in _grpo_needs(options),
  check=_grpo_check,
  paper="arXiv:2402.03300",
  when=(
    "Groups of scored completions with logged log-probs: own samples in "
    "rounds, by token, or stored rollouts. For data of another policy, "
    "dro_group makes fewer assumptions."
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
  ratio: Literal["sequence", "token"] = "sequence",
  kl: Literal["sequence", "token"] = "sequence",
  loss_type: Literal["grpo", "dr_grpo", "dapo", "cispo"] = "grpo",
  clip_high: float | None = None,
  max_completion_length: int | None = None,
) -> LossOutput:
  """Group-normalised policy gradient, with the reward's z-score in the group.

  Shao et al., equation 3, is `ratio=token, kl=token, behaviour=logged`: a ratio
  to the policy that wrote the completion for every token, clipped by itself,
  and equation 4's k3 = exp(u) - u - 1 of every token, u being its log-ratio,
  reference over policy; both are means over a completion's tokens, then over
  the group. The standard deviation is the unbiased one plus 1e-4, as in TRL.

  The default is for logs that have sums of log-probs alone: `ratio=sequence` is
  the sequence's ratio to the power 1 / |y| (GSPO, arXiv:2507.18071, equation 7;
  where policy and behaviour agree its gradient is the paper's), and
  `kl=sequence` is k3 of the mean log-ratio, u = -rho / |y|. That KL is smaller
  (Jensen), since what single tokens win and lose cancels in the mean: with 64
  tokens of independent log-ratios of deviation 0.05, 0.2, 0.5 and 1 it is 65,
  65, 68 and 82 times smaller, so that beta = 0.04 holds the policy as 0.0006
  does with `kl=token`. A beta has to be tuned anew between the two. k3 is an
  estimate of KL(pi || pi_ref) on samples of the policy; on logged ones neither
  form is. With the samples held its gradient is that of KL(pi_ref || pi).

  Args:
    scores: needs `rewards` and `lengths`; with beta > 0 or ratios to the
      reference `ref_logps`, or `ref_token_logps` where these are by token;
      `behaviour_logps` or `behaviour_token_logps` if logged; `token_logps` and
      `token_mask` where anything is by token; `length_mean` for dapo and cispo.
      K >= 2.
    beta: >= 0, weight of the KL term.
    clip: the range of the ratio about 1, in (0, 1); None for advantages
      times mean log-probs, without ratio.
    behaviour: whose log-probs the ratio is to: "reference" or "logged".
    scale_rewards: divide by the standard deviation; False is Dr. GRPO's
      advantage (arXiv:2503.20783).
    ratio: of the whole completion, or of each token.
    kl: likewise.
    loss_type: with ratio=token, what the sum over a completion's tokens is
      divided by, as TRL names it: "grpo" its length; "dr_grpo"
      `max_completion_length` (arXiv:2503.20783, section 3.2); "dapo" the mean
      length of the global batch, so that every token counts alike
      (arXiv:2503.14476, equation 12); "cispo" as dapo, with the ratio held
      fixed below 1 + clip_high as a weight of log pi (arXiv:2506.13585,
      equation 4).
    clip_high: the upper side of the range, where it is not that of the lower
      (DAPO's clip-higher); above 0.
    max_completion_length: of dr_grpo; tokens.

  Returns:
    [B] losses (means over K), `advantages`, `kl` if beta > 0, and
    `clip_ratio` if clipped.
  """
  by_token = ratio == "token" or (beta > 0 and kl == "token")
  lengths = (
    scores.token_mask.sum(axis=-1).astype(scores.rewards.dtype)
    if by_token
    else scores.lengths
  )
  lengths = jnp.maximum(lengths, 1)
  advantages = scores.rewards - scores.rewards.mean(axis=1, keepdims=True)
  if scale_rewards:
    deviation = jnp.std(advantages, axis=1, ddof=1, keepdims=True)
    advantages = advantages / (deviation + 1e-4)
  metrics: dict[str, Array]
  if ratio == "sequence":
    value, metrics = _surrogate(
      scores, advantages, lengths, clip, behaviour, clip_high
    )
    loss = -value
  else:
    assert clip is not None
    high = clip if clip_high is None else clip_high
    gains, outside = _by_token(
      scores, advantages, (clip, high), behaviour, loss_type == "cispo"
    )
    each: Array | float = lengths
    if loss_type == "dr_grpo":
      each = float(max_completion_length or 1)
    elif loss_type in ("dapo", "cispo"):
      each = jnp.maximum(scores.length_mean, 1e-9)
    loss = -gains.sum(axis=-1) / each
    metrics = {"clip_ratio": outside.sum(axis=-1) / lengths}
  if beta:
    if kl == "token":
      u = jnp.where(
        scores.token_mask, scores.ref_token_logps - scores.token_logps, 0.0
      )
      divergence = (stable.expm1(u) - u).sum(axis=-1) / lengths
    else:
      u = -scores.log_ratios / lengths
      divergence = stable.expm1(u) - u
    loss = loss + beta * divergence
    metrics["kl"] = jax.lax.stop_gradient(divergence)
  return LossOutput(loss.mean(axis=1), {"advantages": advantages, **metrics})


def _by_token(
  scores: Scores,
  advantages: Array,
  clip: tuple[float, float],
  behaviour: Behaviour,
  weighs: bool,
) -> tuple[Array, Array]:
  """[B, K, T] to maximise and whether it was cut off; 0 behind the end."""
  mask = scores.token_mask
  logged = behaviour == "logged"
  old = scores.behaviour_token_logps if logged else scores.ref_token_logps
  logps = jnp.where(mask, scores.token_logps, 0.0)
  ratio = stable.exp(logps - jnp.where(mask, old, 0.0))
  gain = jax.lax.stop_gradient(advantages)[..., None]
  low, high = 1.0 - clip[0], 1.0 + clip[1]
  if weighs:
    weight = jax.lax.stop_gradient(jnp.minimum(ratio, high))
    value, outside = weight * gain * logps, ratio > high
  else:
    value = jnp.minimum(ratio * gain, jnp.clip(ratio, low, high) * gain)
    outside = value != ratio * gain
  return jnp.where(mask, value, 0.0), (outside & mask).astype(ratio.dtype)
