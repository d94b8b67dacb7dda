"""WPO: Zhou et al., arXiv:2406.11827."""

import jax
import jax.numpy as jnp

from offalign.losses import stable
from offalign.losses.base import Options
from offalign.losses.noisy import margin
from offalign.losses.registry import register
from offalign.types import Kind, LossOutput, Scores


def _check(options: Options) -> str | None:
  clamp = options["clamp"]
  if clamp is not None and not clamp > 0:
    return f"clamp must be above 0, or None, not {clamp}"
  return None


@register(
  "wpo",
  kind=Kind.PAIR,
  needs=("ref_logps", "lengths", "log_collisions"),
  scale="beta",
  positive=("beta",),
  check=_check,
  paper="arXiv:2406.11827",
  when=(
    "Pairs written by other policies than the one that is trained: pairs it"
    " would hardly write itself count for less."
  ),
  formula=(
    r"-w_w w_l\log\sigma(\beta(\rho_w - \rho_l)),\ "
    r"w = \exp\frac{1}{|y|}\sum_t\log\frac{\pi(y_t)}{\sum_v\pi(v)^2}"
  ),
)
def wpo(
  scores: Scores, *, beta: float = 0.1, clamp: float | None = None
) -> LossOutput:
  """DPO with pairs weighted by how likely the policy is to write them.

  w is the geometric mean over tokens of pi(y_t) / sum_v pi(v)^2: the
  probability of a token over that of a token drawn from the policy itself
  (the paper's sampled alignment). No gradient flows through it. TRL:
  `use_weighting`. The product w_w w_l is as it is in TRL 1.16, from which our
  golden vectors are; earlier versions of TRL hold it to 1 at most, which is
  `clamp=1.0`. It does exceed 1: w is a ratio, and a completion may be more
  likely than what the policy draws.

  Args:
    scores: needs `ref_logps`, `lengths` and `log_collisions`; chosen first.
    beta: > 0, scale of the margin; 1 / nat.
    clamp: > 0, the largest weight; None for no limit.

  Returns:
    [B] losses, and the metric `weight` (w_w w_l).
  """
  lengths = jnp.maximum(scores.lengths, 1)
  fit = (scores.logps - scores.log_collisions) / lengths
  weight = stable.exp(jax.lax.stop_gradient(fit).sum(axis=1))
  if clamp is not None:
    weight = jnp.minimum(weight, clamp)
  loss = weight * jax.nn.softplus(-margin(scores, beta))
  return LossOutput(loss, {"weight": weight})
