"""UNA: Wang et al., arXiv:2408.15339. One objective for every feedback."""

from typing import Literal

import jax
import jax.numpy as jnp

from offalign.losses.base import Options
from offalign.losses.registry import register
from offalign.types import Array, Kind, Scores

_FEEDBACK = {"score": ("rewards",), "binary": ("labels",), "pair": ()}


def _kind(options: Options) -> Kind:
  return Kind.PAIR if options["feedback"] == "pair" else Kind.SINGLE


def _needs(options: Options) -> tuple[str, ...]:
  return ("ref_logps", *_FEEDBACK[options["feedback"]])


@register(
  "una",
  kind=_kind,
  needs=_needs,
  scale="beta",
  positive=("beta",),
  paper="arXiv:2408.15339",
  when=(
    "To compare scores, thumbs and pairs under one objective; with scores "
    "it is dro_v with V = 0, the control that shows what V is worth, so "
    "rewards must have mean 0."
  ),
  formula=(
    r"(r - \beta\rho)^2;\ -\log\sigma(\pm\beta\rho);"
    r"\ -\log\sigma(\beta(\rho_w - \rho_l))"
  ),
)
def una(
  scores: Scores,
  *,
  beta: float = 0.1,
  feedback: Literal["score", "binary", "pair"] = "score",
) -> Array:
  """The implicit reward beta rho is fitted to whatever feedback there is.

  Scores: squared error of the reward. Labels: cross-entropy of sigmoid(beta
  rho) with the label. Pairs: cross-entropy of the preference, which is DPO.
  The paper leaves the measure of the difference open; this is our reading.
  (With scores it is DRO-V with V = 0 and tau = beta, up to a factor of 2 beta
  in the gradient: the control for what a value is worth. Rewards should have
  mean 0.)

  Args:
    scores: needs `ref_logps`, and `rewards` or `labels`; any K, or K = 2,
      chosen first, for pairs.
    beta: > 0; reward units per nat.
    feedback: "score", "binary" or "pair".

  Returns:
    [B] losses (means over K).
  """
  z = beta * scores.log_ratios
  if feedback == "pair":
    return jax.nn.softplus(-(z[:, 0] - z[:, 1]))
  if feedback == "binary":
    sign = jnp.where(scores.labels, 1.0, -1.0)
    return jax.nn.softplus(-sign * z).mean(axis=1)
  return jnp.square(scores.rewards - z).mean(axis=1)
