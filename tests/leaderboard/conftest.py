"""A row factory that the leaderboard's tests share."""

import pytest

from offalign.leaderboard.rows import Row

BUDGET = {"completions": 9600, "tokens": 105600, "steps": 300}


def make_row(label="dpo", seed=0, **changes):
  fields = {
    "track": "ops",
    "scenario": "L=0.37",
    "loss": label.split(" ")[0],
    "label": label,
    "data_view": "pairs, gold label",
    "model": "tiny",
    "seed": seed,
    "budget": BUDGET,
    "metrics": {"win_vs_sft": 0.5, "reward_gain": 0.1, "kl": 1.0},
    "seconds": {"wall": 2.0, "cpu": 3.0},
    "peak_memory_mb": 100.0,
    "versions": {"python": "3", "platform": "Linux"},
    "revision": "abc",
  }
  return Row(**{**fields, **changes})


@pytest.fixture
def row():
  return make_row
