"""Contracts: what every loss owes the learner, checked on arrays alone.

A contract is a function that takes a loss and raises AssertionError where the
loss breaks it. A loss that passes `check_loss` needs no tests of its own for
any of the contracts.
"""

from collections.abc import Callable

import jax

from offalign import losses
from offalign.losses import Loss
from offalign.testing.losses import declarations, direction, numerics, rows
from offalign.types import UndeclaredInput

__all__ = ["CONTRACTS", "check_loss"]

CONTRACTS: dict[str, Callable[[Loss], None]] = {
  check.__name__: check
  for check in (
    rows.shape,
    declarations.words,
    declarations.spec,
    declarations.undeclared,
    declarations.declared,
    declarations.options,
    numerics.extremes,
    numerics.precision,
    rows.unreduced,
    rows.permutation,
    rows.padding,
    rows.behind,
    rows.jit,
    direction.direction,
  )
}
"""Name of a contract -> its check, in the order of `check_loss`."""


def check_loss(spec: str | Loss) -> None:
  """Checks every contract that needs no learner.

  >>> check_loss("dpo")

  Args:
    spec: a registered loss or its spec string.

  Raises:
    AssertionError: naming the first contract that the loss breaks.
  """
  loss = losses.get(spec)
  for name, check in CONTRACTS.items():
    broken = f"loss {str(loss)!r} breaks the contract"
    try:
      with jax.enable_x64(True):
        check(loss)
    except UndeclaredInput as error:
      raise AssertionError(f"{broken} 'undeclared': {error}") from error
    except AssertionError as error:
      raise AssertionError(f"{broken} {name!r}: {error}") from error
