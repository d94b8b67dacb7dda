"""Tools to hold a loss against numbers of one's own, and its contracts."""

from offalign.testing.arrays import Evaluation, evaluate
from offalign.testing.contracts import CONTRACTS, check_loss

__all__ = ["CONTRACTS", "Evaluation", "check_loss", "evaluate"]
