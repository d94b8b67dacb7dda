"""Leaderboard of finished runs, from their rows. Nothing here imports jax.

A benchmark calls `append` after each run; `load`, `write` and `render_text`
are what `python -m offalign.leaderboard DIR` calls.
"""

from offalign.leaderboard.aggregate import load
from offalign.leaderboard.meta import Meta
from offalign.leaderboard.provenance import Stopwatch, environment, revision
from offalign.leaderboard.report.console import render_text
from offalign.leaderboard.report.files import write
from offalign.leaderboard.rows import Row, Sample
from offalign.leaderboard.store import append, read

__all__ = [
  "Meta",
  "Row",
  "Sample",
  "Stopwatch",
  "append",
  "environment",
  "load",
  "read",
  "render_text",
  "revision",
  "write",
]
