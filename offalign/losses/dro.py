"""DRO: Richemond et al., "Offline Regularised RL for LLMs Alignment".

arXiv:2405.19107. With a learned value function, or with the mean of a group.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from offalign.losses.registry import register
from offalign.types import Array, Kind, LossOutput, Scores


@register(
  "dro_v",
  kind=Kind.SINGLE,
  needs=("ref_logps", "rewards", "values"),
  scale="tau",
  positive=("tau",),
  paper="arXiv:2405.19107",
  when=(
    "A score on single completions, the most common log of all: it uses the"
    " size of the reward, not only its sign. Tune tau first, and give the "
    "value a learning rate of its own."
  ),
  formula=r"\frac{1}{2}(r - V(x) - \tau\rho)^2",
)
def dro_v(scores: Scores, *, tau: float = 1.0) -> LossOutput:
  """1/2 delta^2, delta = r - V(x) - tau rho: equation 4 of the paper.

  The value reported is equation 4. The gradients are those the paper
  trains with: the value's is equation 7, -delta; the policy's is equation 8
  times 1/tau, -delta grad log pi, so that tau does not change the size of
  the policy's step. Each treats the other's part as a constant. (Algorithm 1
  prints its l2 term without tau; equation 8 has it, and the two agree only
  at tau = 1. We follow equation 8, whose fixed point is the loss's own.)

  tau is on the scale of the rewards; the paper's default of 1 is for rewards
  of mean 0 and variance 1 over the dataset.

  V sees the prompt alone. Where each prompt has one completion, a value network
  that is large or fast enough can fit V(x) = r(x, y): then delta is 0 at
  rho = 0, and the policy learns nothing while the loss falls to 0. What parts
  the two is that V has to serve several completions, of one prompt or of
  prompts alike: log more than one a prompt, or lower the value's learning rate.

  Args:
    scores: needs `ref_logps`, `rewards` and `values`; any K, each completion
      on its own.
    tau: > 0, weight of the KL regulariser; reward units per nat.

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (delta).
  """
  delta = scores.rewards - scores.values - tau * scores.log_ratios
  return regressed(scores, delta)


def regressed(
  scores: Scores, delta: Array, logps: Array | None = None
) -> LossOutput:
  """1/2 delta^2, whose gradient is -delta to logps and to values alike.

  Args:
    scores: needs `values`.
    delta: [B, K], the residual; its own gradient is not taken.
    logps: [B, K], what the policy's gradient goes to; default `scores.logps`.

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (delta).
  """
  delta = jax.lax.stop_gradient(delta)
  logps = scores.logps if logps is None else logps
  # Linear in what is learned: d/d logps = d/d values = -delta.
  linear = -delta * (logps + scores.values)
  # The difference is an exact zero, so nothing is rounded away from delta.
  loss = 0.5 * jnp.square(delta) + (linear - jax.lax.stop_gradient(linear))
  values = jax.lax.stop_gradient(scores.values)
  return LossOutput(
    values=loss.mean(axis=1),
    metrics={
      "values/mean": jnp.broadcast_to(values, delta.shape),
      "values/residual": delta,
    },
  )


@register(
  "dro_group",
  kind=Kind.GROUP,
  needs=("ref_logps", "rewards"),
  scale="tau",
  positive=("tau",),
  paper="arXiv:2405.19107",
  when=(
    "Several scored completions a prompt: DRO without a value network, at "
    "the cost of one model instead of two. rloo at beta = tau is the same "
    "loss, up to K / (K - 1)."
  ),
  formula=(
    r"\frac{1}{2K}\sum_k(\delta_k - \bar\delta)^2,\ \delta = r - \tau\rho"
  ),
)
def dro_group(
  scores: Scores,
  *,
  tau: float = 1.0,
  baseline: Literal["delta", "reward"] = "delta",
) -> LossOutput:
  """DRO with its value eliminated: no value network, K >= 2 completions.

  For a given policy the best V(x) is the mean of delta = r - tau rho over
  the completions of the prompt (Proposition 1); with it the loss is half the
  variance of delta within the prompt. As in `dro_v`, the policy's gradient
  is scaled by 1/tau: -(delta_k - V) grad log pi. V is made of the same K
  completions, which shrinks loss and gradient by (K - 1) / K against a
  leave-one-out V and moves no minimum: with it, this is `rloo` at beta = tau.
  A reward offset of a prompt cancels.

  `baseline=reward` is a control and no method: V is the mean reward, E_mu r,
  which would do as well if V were a mere baseline. The optimum is then
  another one (see the page on theory).

  Args:
    scores: needs `ref_logps` and `rewards`; K >= 2.
    tau: > 0, weight of the KL regulariser; reward units per nat.
    baseline: what V is the mean of: "delta", which is DRO, or "reward".

  Returns:
    [B] losses (means over K), and the metrics `values/mean` (V) and
    `values/residual` (delta - V).
  """
  delta = scores.rewards - tau * scores.log_ratios
  delta = jax.lax.stop_gradient(delta)
  level = delta if baseline == "delta" else scores.rewards
  value = level.mean(axis=1, keepdims=True)
  residual = delta - value
  linear = -residual * scores.logps
  loss = 0.5 * jnp.square(residual) + (linear - jax.lax.stop_gradient(linear))
  return LossOutput(
    values=loss.mean(axis=1),
    metrics={
      "values/mean": jnp.broadcast_to(value, delta.shape),
      "values/residual": residual,
    },
  )
