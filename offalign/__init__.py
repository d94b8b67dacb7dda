"""Offline alignment of language models in JAX.

One registry of losses, one batch type, one learner, one leaderboard.
"""

__version__ = "0.1.0"
