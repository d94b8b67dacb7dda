"""On-policy distillation: the policy's own samples, judged by a teacher."""

import jax
import jax.numpy as jnp

from offalign.losses import stable
from offalign.losses.base import Options
from offalign.losses.ppo import gae
from offalign.losses.registry import register
from offalign.types import Kind, LossOutput, Scores


def _check(options: Options) -> str | None:
  gamma, clip = options["gamma"], options["cliprange"]
  if not 0.0 <= gamma <= 1.0:
    return f"gamma must be from 0 to 1, not {gamma}"
  if not 0.0 < clip < 1.0:
    return f"cliprange must be above 0 and below 1, not {clip}"
  return None


@register(
  "distill",
  kind=Kind.SINGLE,
  needs=(
    "token_logps",
    "ref_token_logps",
    "behaviour_token_logps",
    "token_mask",
    "length_mean",
  ),
  scale=lambda _: 1.0,
  check=_check,
  pushes=(0, 0),
  paper="arXiv:2306.13649; arXiv:2306.08543",
  when=(
    "A larger policy with the same tokenizer, as the reference, teaches this "
    "one on completions that this one has just written, in rounds."
  ),
  formula=(
    r"-\min(w_t A_t, \mathrm{clip}(w_t, 1\pm\epsilon) A_t),"
    r"\ A_t = \sum_{s\ge t}\gamma^{s-t}\log(\pi_{\mathrm{ref},s}/\pi_{b,s})"
  ),
)
def distill(
  scores: Scores, *, gamma: float = 0.0, cliprange: float = 0.2
) -> LossOutput:
  """Reverse KL to a teacher on the policy's own samples, by policy gradient.

  The reference is the teacher. With pi_b the policy that wrote the completion,
  token t has the advantage A_t = sum_s>=t gamma^(s-t) log(pi_ref / pi_b)(s), a
  constant of the round, and the ratio w = pi / pi_b is clipped as in PPO
  (arXiv:1707.06347, equation 7); no value is learned. Where policy and pi_b
  agree the gradient is,

    gamma = 0: that of KL(pi || pi_ref) of every token after the ones before it,
      which are taken as they are: GKD (arXiv:2306.13649, equation 2) with the
      reverse KL, of one sample in place of the whole vocabulary.
    gamma = 1: that of KL(pi || pi_ref) of whole completions, with the part of
      earlier tokens in what later ones cost: MiniLLM (arXiv:2306.08543,
      equation 2), whose variance is larger.

  Either is 0 where the policy is the teacher. Rewards are not read.

  Args:
    scores: needs `token_logps`, `ref_token_logps`, `behaviour_token_logps`,
      `token_mask` and `length_mean`. Any K, each completion on its own.
    gamma: how much of later tokens' gaps a token answers for, from 0 to 1.
    cliprange: range of the ratio about 1, above 0 and below 1.

  Returns:
    [B] losses (a surrogate, whose gradient alone has meaning; means over the
    tokens of the global batch), and per completion `advantages` (mean over
    tokens), `clip_ratio` (share of its tokens) and `objective/kl` (of pi_b to
    the teacher, summed over tokens; nats).
  """
  mask = scores.token_mask
  old = jnp.where(mask, scores.behaviour_token_logps, 0.0)
  logps = jnp.where(mask, scores.token_logps, 0.0)
  gap = old - jnp.where(mask, scores.ref_token_logps, 0.0)
  gap = jax.lax.stop_gradient(gap)
  # With no value, and lambda 1, these are the discounted sums of -gap.
  advantages = gae(jnp.zeros_like(gap), -gap, mask, gamma=gamma, lam=1.0)
  ratio = stable.exp(logps - old)
  held = jnp.clip(ratio, 1.0 - cliprange, 1.0 + cliprange)
  gain = jnp.minimum(ratio * advantages, held * advantages)
  total = jnp.where(mask, gain, 0.0).sum(axis=-1)
  outside = (mask & (gain != ratio * advantages)).astype(gap.dtype)
  count = jnp.maximum(mask.sum(axis=-1), 1).astype(gap.dtype)
  return LossOutput(
    -(total / jnp.maximum(scores.length_mean, 1e-9)).mean(axis=1),
    {
      "advantages": advantages.sum(axis=-1) / count,
      "clip_ratio": outside.sum(axis=-1) / count,
      "objective/kl": gap.sum(axis=-1),
    },
  )
