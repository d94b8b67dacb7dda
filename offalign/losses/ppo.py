"""PPO: Schulman et al., arXiv:1707.06347, as RLHF has it (arXiv:2203.02155)."""

import jax
import jax.numpy as jnp

from offalign.losses import stable
from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Array, Kind, LossOutput, Scores


def _check(options: Options) -> str | None:
  for name in ("gamma", "lam"):
    if not 0.0 <= options[name] <= 1.0:
      return f"{name} must be from 0 to 1, not {options[name]}"
  for name in ("kl_coef", "kl_loss_coef"):
    if options[name] < 0:
      return f"{name} must not be negative"
  if not 0.0 < options["cliprange"] < 1.0:
    return f"cliprange must be above 0 and below 1, not {options['cliprange']}"
  held = options["cliprange_value"]
  if held is not None and not held > 0:
    return f"cliprange_value must be above 0, or None, not {held}"
  return None


def _needs(options: Options) -> tuple[str, ...]:
  ref = options["kl_coef"] > 0 or options["kl_loss_coef"] > 0
  return (
    "rewards",
    "token_logps",
    "behaviour_token_logps",
    *(("ref_token_logps",) if ref else ()),
    "token_values",
    "token_mask",
    "length_mean",
    *(("old_token_values",) if options["cliprange_value"] is not None else ()),
    *(("weight",) if options["whiten"] else ()),
  )


@register(
  "ppo",
  kind=Kind.SINGLE,
  needs=_needs,
  whole_batch=lambda options: options["whiten"],
  scale=lambda options: options["kl_coef"] or 1.0,
  positive=("vf_coef",),
  check=_check,
  paper="arXiv:1707.06347; arXiv:2203.02155; GAE: arXiv:1506.02438",
  when=(
    "Completions that the policy has just written, scored by a reward model, "
    "with a value of every token: the last stage of RLHF, in rounds. On a log "
    "of another policy it clips most of what it sees; dro_v is made for that."
  ),
  formula=(
    r"-\min(w_t \hat A_t, \mathrm{clip}(w_t, 1\pm\epsilon)\hat A_t)"
    r" + c\,\frac12 (V_t - \hat R_t)^2,\ w_t = \pi_t/\pi_{b,t}"
  ),
)
def ppo(
  scores: Scores,
  *,
  kl_coef: float = 0.05,
  kl_loss_coef: float = 0.0,
  gamma: float = 1.0,
  lam: float = 0.95,
  cliprange: float = 0.2,
  cliprange_value: float | None = None,
  vf_coef: float = 0.1,
  whiten: bool = False,
) -> LossOutput:
  """Clipped policy gradient by token, with generalised advantage estimation.

  The reward of token t is -kl_coef log(pi_b / pi_ref)(t), pi_b being the policy
  that wrote it, and the completion's reward is added at its last token
  (InstructGPT, equation 2, without its pretraining term, which is a second
  source of the run, `ptx.*`). With V_t the value of the prompt and the tokens
  before t, and V = 0 after the last,

    delta_t = r_t + gamma V_t+1 - V_t
    A_t = delta_t + gamma lam A_t+1        (arXiv:1506.02438, equation 16)
    R_t = A_t + V_t                        (what V_t is fitted to)

  and the ratio is clipped (arXiv:1707.06347, equation 7). A and R are constants
  of a step. By default they are made of the values as they are in it: of a
  round with one update that is PPO to the letter; of several it is PPO whose
  advantages are made anew for every update (arXiv:2006.05990, section 3.5,
  which advises it), and nothing holds the value back. With `cliprange_value`
  they are made of V_old, the values when the completions were written, which
  the batch then carries, and the value loss is the larger of those of V and of
  V clipped to V_old +- cliprange_value, as in the authors' code and TRL. In
  the first update of a round V = V_old, and the two are one loss.

  Both parts are means over the tokens of the global batch.

  Args:
    scores: needs `rewards`, `token_logps`, `behaviour_token_logps`,
      `token_values`, `token_mask` and `length_mean`; `ref_token_logps` with
      either KL, `weight` with `whiten`, and `old_token_values` with
      `cliprange_value`. Any K, each completion on its own.
    kl_coef: >= 0, weight of the KL penalty in the reward of each token; reward
      units per nat.
    kl_loss_coef: >= 0, weight of k3 of each token in the loss instead (GRPO's
      term, arXiv:2402.03300, equation 4; its gradient is the other KL's).
    gamma: discount, from 0 to 1.
    lam: GAE's lambda, from 0 to 1.
    cliprange: range of the ratio about 1, above 0 and below 1.
    cliprange_value: None, or how far from the old values the value may gain
      by moving, > 0; in units of the reward.
    vf_coef: > 0, weight of the value loss.
    whiten: bring the advantages of the tokens of the global batch to mean 0
      and variance 1, as TRL does; the KL penalty in them is scaled too.

  Returns:
    [B] losses (a surrogate, whose gradient alone has meaning), and per
    completion `advantages` (mean over tokens), `clip_ratio` (share of its
    tokens), `objective/kl` (of pi_b, summed over tokens; nats), `values/mean`
    and `values/residual` (mean of R_t - V_t).
  """
  mask = scores.token_mask
  fixed = jax.lax.stop_gradient
  old = jnp.where(mask, scores.behaviour_token_logps, 0.0)
  logps = jnp.where(mask, scores.token_logps, 0.0)
  values = jnp.where(mask, scores.token_values, 0.0)
  lengths = mask.sum(axis=-1)
  last = mask & (jnp.cumsum(mask, axis=-1) == lengths[..., None])
  rewards = jnp.where(last, scores.rewards[..., None], 0.0)
  ref = old
  if kl_coef or kl_loss_coef:
    ref = jnp.where(mask, scores.ref_token_logps, 0.0)
  rewards = rewards - kl_coef * (old - ref)
  before = fixed(values)
  if cliprange_value is not None:
    before = jnp.where(mask, scores.old_token_values, 0.0)
  advantages = gae(before, rewards, mask, gamma=gamma, lam=lam)
  returns = advantages + before
  residual = returns - fixed(values)
  if whiten:
    advantages = _whitened(advantages, mask, scores.weight)
  ratio = stable.exp(logps - old)
  held = jnp.clip(ratio, 1.0 - cliprange, 1.0 + cliprange)
  gain = jnp.minimum(ratio * advantages, held * advantages)
  errors = jnp.square(values - returns)
  if cliprange_value is not None:
    near = before + jnp.clip(values - before, -cliprange_value, cliprange_value)
    errors = jnp.maximum(errors, jnp.square(near - returns))
  loss = vf_coef * 0.5 * errors - gain
  if kl_loss_coef:
    u = ref - logps
    loss = loss + kl_loss_coef * (stable.expm1(u) - u)
  total = jnp.where(mask, loss, 0.0).sum(axis=-1)
  outside = (gain != ratio * advantages).astype(ratio.dtype)
  count = jnp.maximum(lengths, 1).astype(logps.dtype)

  def mean(column: Array) -> Array:
    return fixed(jnp.where(mask, column, 0.0).sum(axis=-1) / count)

  return LossOutput(
    # Divided by the mean length, the mean over rows is one over tokens.
    (total / jnp.maximum(scores.length_mean, 1e-9)).mean(axis=1),
    {
      "advantages": mean(advantages),
      "clip_ratio": mean(outside),
      "objective/kl": fixed((old - ref).sum(axis=-1)),
      "values/mean": mean(values),
      "values/residual": mean(residual),
    },
  )


def gae(
  values: Array, rewards: Array, mask: Array, *, gamma: float, lam: float
) -> Array:
  """Generalised advantage estimation, arXiv:1506.02438, equation 16.

  Args:
    values: [B, K, T], V of what is before each token; 0 where the mask is
      False.
    rewards: [B, K, T], likewise.
    mask: bool [B, K, T], True on a completion's tokens, which are first.
    gamma: discount.
    lam: lambda.

  Returns:
    [B, K, T] advantages, 0 where the mask is False.
  """
  after = jnp.concatenate(
    [values[..., 1:], jnp.zeros_like(values[..., :1])], axis=-1
  )
  deltas = jnp.where(mask, rewards + gamma * after - values, 0.0)

  def back(later: Array, delta: Array) -> tuple[Array, Array]:
    here = delta + gamma * lam * later
    return here, here

  moved = jnp.moveaxis(deltas, -1, 0)
  _, found = jax.lax.scan(back, jnp.zeros_like(moved[0]), moved, reverse=True)
  return jnp.moveaxis(found, 0, -1)


def _whitened(advantages: Array, mask: Array, weight: Array) -> Array:
  """Mean 0 and variance 1 over the tokens of rows with weight."""
  counts = jnp.where(mask, weight[:, None, None], 0.0)
  total = jnp.maximum(counts.sum(), 1e-9)
  mean = (counts * advantages).sum() / total
  centred = jnp.where(mask, advantages - mean, 0.0)
  variance = (counts * jnp.square(centred)).sum() / total
  return centred * jax.lax.rsqrt(variance + 1e-8)
