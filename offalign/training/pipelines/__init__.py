"""Pipelines: runs that follow one another, as RLHF's three stages do."""
