"""A second source in one step: demonstrations, imitated beside the loss.

InstructGPT's PTX (Ouyang et al., arXiv:2203.02155, equation 2): the step goes
down the sum of two means, of the loss over the rows of its batch and of sft
over rows of their own. As a gradient of a sum is the sum of gradients, each
source has its own pass: rows of one need no columns of the other, and each mean
is over its own rows of the global batch, whatever the microbatches.
"""

import dataclasses

import jax

from offalign import losses
from offalign.errors import UserError, option
from offalign.learner.objective import Means, Objective
from offalign.losses import Loss
from offalign.types import Batch, Params


@dataclasses.dataclass(frozen=True)
class Ptx:
  """The term.

  Attributes:
    coef: its weight.
    loss: of the demonstrations.
  """

  coef: float
  loss: Loss

  def onto(
    self,
    objective: Objective,
    params: Params,
    batch: Batch,
    grads: Params,
    means: Means,
  ) -> tuple[Params, Means]:
    """Adds the term to what the loss's own rows gave.

    Args:
      objective: of the loss; the term is computed with its model, microbatches
        and dtypes.
      params: as `Objective.grads` takes them; "value" gets nothing.
      batch: N demonstrations.
      grads: of the loss.
      means: metrics of the loss, as (sum, weight).

    Returns:
      The sum of both gradients, and the metrics: "loss" is the sum of both
      means, "ptx/loss" the term without its weight (nats a token).
    """
    own = dataclasses.replace(
      objective, loss=self.loss, value=None, balance=0.0
    )
    added, _, found = own.grads({"policy": params["policy"]}, batch, None)
    policy = jax.tree.map(
      lambda a, b: a + self.coef * b, grads["policy"], added["policy"]
    )
    named = {f"ptx/{name}": mean for name, mean in found.items()}
    summed, weight = means["loss"]
    nll, tokens = found["loss"]
    total = summed + self.coef * weight * (nll / tokens)
    return {**grads, "policy": policy}, {
      **means,
      **named,
      "loss": (total, weight),
    }


def term(coef: float | None, loss: Loss) -> Ptx | None:
  """The term of a learner; None where there is none.

  Raises:
    UserError: for a loss that trains a reward model, which imitates nothing.
  """
  if coef is None:
    return None
  if loss.trains_rewards:
    raise UserError(
      f"{option('ptx.*')} is set, but loss {str(loss)!r} trains a reward "
      "model, which imitates no demonstrations; leave it out"
    )
  return Ptx(coef, losses.get("sft"))


def check(ptx: Ptx | None, batch: Batch | None) -> None:
  """Refuses a step without the demonstrations that it needs, or with others.

  Raises:
    UserError: for either.
  """
  if ptx is not None and batch is None:
    raise UserError(
      f"{option('ptx.*')} is set: a step takes demonstrations, as its last "
      "argument"
    )
  if ptx is None and batch is not None:
    raise UserError(
      f"demonstrations are given, but {option('ptx.*')} is not set, so that "
      "they would count for nothing"
    )
