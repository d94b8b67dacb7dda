"""The GPO family: a convex function of the scaled log-ratio margin.

Tang et al., "Generalized Preference Optimization", arXiv:2402.05749, table 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from offalign.losses import stable
from offalign.losses.registry import register
from offalign.types import Array, Kind, Scores


class Convex(NamedTuple):
  """One row of the family.

  Attributes:
    f: the convex function, elementwise.
    formula: f(z) in LaTeX.
    about: the name that the loss is known by.
    when: when to use the loss.
  """

  f: Callable[[Array], Array]
  formula: str
  about: str
  when: str


FAMILY = {
  "dpo": Convex(
    lambda z: jax.nn.softplus(-z),
    r"\log(1 + e^{-z})",
    "logistic: DPO, Rafailov et al., arXiv:2305.18290, equation 7",
    "The first thing to try on pairs: one option, widely understood, and "
    "near the top of the board.",
  ),
  "slic": Convex(
    lambda z: jax.nn.relu(1.0 - z),
    r"\max(0, 1 - z)",
    "hinge: SLiC in GPO's form, with a reference and margin 1 (SLiC-HF, "
    "arXiv:2305.10425, has a margin on likelihoods and no reference)",
    "Pairs, when those already won by the margin should no longer count; "
    "the hinge of the GPO family.",
  ),
  "gpo_squared": Convex(
    lambda z: jnp.square(z - 1.0),
    r"(z - 1)^2",
    "squared: `ipo` up to scale, since IPO's (rho - 1/(2 tau))^2 is "
    "(2 tau rho - 1)^2 / (4 tau^2), so beta here is 2 tau there",
    "Pairs, when margins should reach a target and stop there, as ipo, in "
    "the scale of the other GPO losses.",
  ),
  "gpo_exponential": Convex(
    lambda z: stable.exp(-z),
    r"e^{-z}",
    "exponential; at beta = tau/2 and Bradley-Terry labels its optimum is "
    "the same as DPO's at tau",
    "Pairs with clean labels: a pair that is lost costs exponentially much,"
    " so a wrong label does too.",
  ),
  "gpo_truncated_quadratic": Convex(
    lambda z: jnp.square(jax.nn.relu(1.0 - z)),
    r"\max(0, 1 - z)^2",
    "truncated quadratic",
    "Pairs, as slic, but smooth at the margin: pairs beyond it no longer "
    "count.",
  ),
  "gpo_savage": Convex(
    lambda z: jnp.square(jax.nn.sigmoid(-z)),
    r"(1 + e^{z})^{-2}",
    "Savage: bounded, so robust to outliers",
    "Pairs with wrong labels or outliers: the cost of a lost pair is "
    "bounded, and hopeless pairs are given up.",
  ),
}


def _loss(row: Convex) -> Callable[..., Array]:
  def fn(scores: Scores, *, beta: float = 0.1) -> Array:
    rho = scores.log_ratios
    return row.f(beta * (rho[:, 0] - rho[:, 1]))

  fn.__doc__ = f"""f(z), f(z) = {row.formula}: {row.about}.

  z = beta * (rho_w - rho_l), rho = log pi(y|x) - log pi_ref(y|x), a sum over
  completion tokens.

  Args:
    scores: needs `ref_logps`; K = 2, chosen first.
    beta: > 0, scale of the margin; 1 / nat.

  Returns:
    [B] losses.
  """
  return fn


for _name, _row in FAMILY.items():
  register(
    _name,
    kind=Kind.PAIR,
    needs=("ref_logps",),
    scale="beta",
    positive=("beta",),
    paper="arXiv:2305.18290" if _name == "dpo" else "arXiv:2402.05749",
    when=_row.when,
    formula=_row.formula + r",\ z = \beta(\rho_w - \rho_l)",
  )(_loss(_row))
