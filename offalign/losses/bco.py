"""BCO: Jung et al., arXiv:2404.04656. A running reward shift as state."""

from typing import Literal

import jax
import jax.numpy as jnp

from offalign.losses.base import Options, State
from offalign.losses.registry import register
from offalign.types import Array, Kind, LossOutput, Scores


def _init() -> dict[str, Array]:
  zero = jnp.zeros(())
  names = ("desirable", "undesirable")
  return {f"{name}_{what}": zero for name in names for what in ("mean", "n")}


def _update(
  scores: Scores, state: dict[str, Array], options: Options
) -> dict[str, Array]:
  """Running means of the rewards of both labels, this batch included."""
  rewards = options["beta"] * scores.log_ratios
  weight = scores.weight[:, None]
  new: dict[str, Array] = {}
  for name, rows in (
    ("desirable", scores.labels),
    ("undesirable", ~scores.labels),
  ):
    share = jnp.where(rows, weight, 0.0)
    n = share.sum()
    mean = (share * jnp.where(share > 0, rewards, 0.0)).sum()
    mean = mean / jnp.maximum(n, 1e-9)
    old, count = state[f"{name}_mean"], state[f"{name}_n"] + n
    step = (mean - old) * n / jnp.maximum(count, 1e-9)
    new |= {f"{name}_mean": old + step, f"{name}_n": count}
  return new


def _shift(state: dict[str, Array], how: str) -> Array:
  good, bad = state["desirable_mean"], state["undesirable_mean"]
  n, m = state["desirable_n"], state["undesirable_n"]
  if how == "balanced":
    n, m = ((count > 0).astype(good.dtype) for count in (n, m))
  return (n * good + m * bad) / jnp.maximum(n + m, 1e-9)


@register(
  "bco",
  kind=Kind.SINGLE,
  needs=("ref_logps", "labels"),
  scale="beta",
  positive=("beta",),
  state=State(_init, _update),
  paper="arXiv:2404.04656",
  when=(
    "Thumbs, as kto, when good and bad completions come from prompts of "
    "different difficulty: the running mean reward replaces the KL term, "
    "and any batch size will do."
  ),
  formula=r"-\log\sigma(\pm(\beta\rho - \delta))",
)
def bco(
  scores: Scores,
  *,
  beta: float = 0.01,
  shift: Literal["all", "balanced"] = "all",
) -> LossOutput:
  """A binary classifier of completions, shifted by a running mean reward.

  -log sigmoid(+-(beta rho - delta)). delta is the mean of beta rho over all
  rows that were seen, those of this step included; no gradient flows through
  it. The paper's delta is half the sum of the means of desirable and of
  undesirable rows (`shift=balanced`); TRL takes the plain mean of all rows,
  and so do we. TRL's density ratio (UDM) is not implemented.
  delta is kept in the train state; evaluation does not change it.

  Args:
    scores: needs `ref_logps` and `labels`; any K.
    beta: > 0, scale of the log-ratios; 1 / nat.
    shift: "all", or "balanced": both labels weigh the same.

  Returns:
    [B] losses (means over K), and the metric `delta`.
  """
  delta = _shift(scores.state, shift).astype(scores.logps.dtype)
  sign = jnp.where(scores.labels, 1.0, -1.0)
  z = beta * scores.log_ratios - delta
  loss = jax.nn.softplus(-sign * z).mean(axis=1)
  return LossOutput(loss, {"delta": jnp.broadcast_to(delta, loss.shape)})
