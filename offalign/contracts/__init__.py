"""What every loss owes the learner, checked on arrays alone.

`check_loss` runs every contract in `CONTRACTS`; a loss that passes needs no
test of its own for any of them.
"""

from offalign.contracts import declarations, direction, numerics, rows
from offalign.contracts.base import CONTRACTS, check_loss

__all__ = [
  "CONTRACTS",
  "check_loss",
  "declarations",
  "direction",
  "numerics",
  "rows",
]
