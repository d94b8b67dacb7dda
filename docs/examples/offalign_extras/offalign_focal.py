"""Focal DPO: pairs that are won already count for less.

The focal loss of Lin et al., arXiv:1708.02002, on preferences.
"""

import jax

from offalign.losses import register
from offalign.types import Array, Kind, Scores


@register(
  "focal_dpo",
  kind=Kind.PAIR,
  needs=("ref_logps",),
  scale="beta",
  positive=("beta", "gamma"),
  paper="arXiv:1708.02002, on preferences",
  when=(
    "Pairs of unequal difficulty, when those already won should leave the "
    "gradient to those still lost."
  ),
  formula=r"-\sigma(-z)^\gamma\log\sigma(z),\ z = \beta(\rho_w - \rho_l)",
)
def focal_dpo(
  scores: Scores, *, beta: float = 0.1, gamma: float = 2.0
) -> Array:
  """-(1 - p)^gamma log p, p = sigmoid(beta (rho_w - rho_l)).

  Args:
    scores: needs `ref_logps`; K = 2, chosen first.
    beta: > 0, scale of the margin; 1 / nat.
    gamma: > 0; the larger, the less a pair that is won counts.

  Returns:
    [B] losses.
  """
  rho = scores.log_ratios
  z = beta * (rho[:, 0] - rho[:, 1])
  return jax.nn.sigmoid(-z) ** gamma * jax.nn.softplus(-z)
