"""Bradley-Terry: trains a reward model on pairs."""

import jax
import jax.numpy as jnp

from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Kind, LossOutput, Scores


def _check(options: Options) -> str | None:
  for name in ("margin", "center"):
    if options[name] < 0:
      return f"{name} must not be negative"
  return None


@register(
  "bradley_terry",
  kind=Kind.PAIR,
  needs=lambda o: ("values", "margins") if o["margin"] else ("values",),
  rewards=True,
  check=_check,
  paper="Bradley and Terry, 1952; arXiv:2203.02155, equation 1",
  when=(
    "To train a reward model on pairs, not a policy: for scoring "
    "completions, or as the judge of an evaluation."
  ),
  formula=(r"-\log\sigma(v_w - v_l - m(r_w - r_l)) + \lambda(v_w + v_l)^2"),
)
def bradley_terry(
  scores: Scores, *, margin: float = 0.0, center: float = 0.0
) -> LossOutput:
  """-log sigmoid(v_w - v_l): a value head that sees the completion.

  The values are the rewards of a reward model; the policy is not trained
  (with a shared trunk it is the reward model's). With a margin, that of each
  pair must be reached: v_w - v_l - margin (r_w - r_l), as in Llama 2
  (arXiv:2307.09288, equation 2). r_w - r_l is the pair's column `margin`, or
  the difference of its scores, in their units: it is not normalised, and
  below 0 it asks for less. margin=1 is TRL's `RewardTrainer` on data with
  that column. `center` keeps rewards about 0 (arXiv:2312.09244): TRL's
  `center_rewards_coefficient`, 0.01 there.

  Args:
    scores: needs `values` [B, 2], and `margins` with a margin; K = 2, chosen
      first.
    margin: >= 0, units of value per unit of the pairs' margins.
    center: >= 0, weight of (v_w + v_l)^2.

  Returns:
    [B] losses, and TRL's metrics with the values as rewards.
  """
  values = scores.values
  gap = values[:, 0] - values[:, 1]
  short = gap - margin * scores.margins if margin else gap
  loss = jax.nn.softplus(-short) + center * jnp.square(values.sum(axis=1))
  logged = {
    "rewards/chosen": values[:, 0],
    "rewards/rejected": values[:, 1],
    "rewards/margins": gap,
    "rewards/accuracies": (gap > 0).astype(gap.dtype),
  }
  return LossOutput(
    loss, {name: jax.lax.stop_gradient(x) for name, x in logged.items()}
  )
