"""What every model owes the learner, checked on a small vocabulary.

A contract is a function of a `Case` that raises AssertionError where the model
breaks it.
"""

from collections.abc import Callable

from offalign.models.base import Model
from offalign.testing.models import states, weights
from offalign.testing.models.case import Case

__all__ = ["MODEL_CONTRACTS", "Case", "check_model"]

MODEL_CONTRACTS: dict[str, Callable[[Case], None]] = {
  check.__name__: check
  for check in (
    states.shapes,
    states.causality,
    states.completions_apart,
    states.completion_padding,
    states.prompt_padding,
    states.prompt_matters,
    states.rows_apart,
    states.prompt_state,
    states.encoder_state,
    states.decoding,
    weights.params,
    weights.gradients,
    weights.precision,
    states.prompt_once,
    weights.init,
    states.packing,
    weights.splits,
  )
}
"""Name -> check, in the order in which `check_model` runs them."""


def check_model(spec: str | Model) -> None:
  """Checks every contract of a model; takes seconds, to compile it.

  >>> check_model("decoder(width=8, heads=2)")

  Args:
    spec: a registered model, as its spec string, best a small one; or a
      `Model` of `V` tokens.

  Raises:
    AssertionError: naming the first contract that the model breaks.
  """
  case = Case(spec)
  for name, check in MODEL_CONTRACTS.items():
    try:
      check(case)
    except AssertionError as error:
      raise AssertionError(
        f"model {case.model.spec!r} breaks the contract {name!r}: {error}"
      ) from error
