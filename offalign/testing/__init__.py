"""Test a loss or a model: your own numbers, and the contracts of each."""

from offalign.testing.losses.arrays import Evaluation, evaluate
from offalign.testing.losses.contracts import CONTRACTS, check_loss
from offalign.testing.models import MODEL_CONTRACTS, check_model

__all__ = [
  "CONTRACTS",
  "MODEL_CONTRACTS",
  "Evaluation",
  "check_loss",
  "check_model",
  "evaluate",
]
