"""Tools to hold a loss against numbers of one's own, and its contracts.

And the contracts of models.
"""

from offalign.testing.arrays import Evaluation, evaluate
from offalign.testing.contracts import CONTRACTS, check_loss
from offalign.testing.models import MODEL_CONTRACTS, check_model

__all__ = [
  "CONTRACTS",
  "MODEL_CONTRACTS",
  "Evaluation",
  "check_loss",
  "check_model",
  "evaluate",
]
