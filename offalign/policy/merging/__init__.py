"""Merging: several checkpoints of one network become one set of weights."""
