"""Contracts of losses, and a loss on plain arrays."""
