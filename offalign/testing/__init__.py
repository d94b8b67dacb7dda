"""Test a loss: evaluate it on your own numbers, and check its contracts."""

from offalign.testing.arrays import Evaluation, evaluate
from offalign.testing.contracts import CONTRACTS, check_loss

__all__ = ["CONTRACTS", "Evaluation", "check_loss", "evaluate"]
