"""One completion a prompt: a log that says little, and a V that says it all."""

import json
import pathlib

import numpy as np
import pytest

from benchmarks import one_completion

ROWS = pathlib.Path(one_completion.__file__).parent / "results"


def test_rewards_are_normalised_and_actions_follow_the_reference():
  world = one_completion.make(4, 0)
  assert world.arms.shape == world.rewards.shape == (128, 4)
  assert np.abs(world.rewards.mean()) < 0.15
  assert 0.8 < world.rewards.var() < 1.2
  logits = world.prompts @ world.reference
  policy = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  counts = np.bincount(world.arms.ravel(), minlength=8)
  np.testing.assert_allclose(counts, 4 * policy.sum(axis=0), atol=30)


def test_the_reference_gains_nothing_and_the_optimum_all():
  world = one_completion.make(1, 0)
  nothing = one_completion.judge(world, world.fresh @ world.reference)
  assert nothing == {"kl": 0.0, "gain": 0.0}
  # The optimum is linear in the prompt: found by least squares on the rewards.
  slopes = np.linalg.lstsq(
    world.fresh,
    world.fresh_rewards - world.fresh_rewards.mean(axis=1, keepdims=True),
    rcond=None,
  )[0]
  logits = world.fresh @ (world.reference + slopes)
  best = one_completion.judge(world, logits)
  assert best["gain"] == pytest.approx(1.0, abs=1e-9)
  assert best["kl"] > 0.1


def test_the_residual_goes_and_the_policy_stays():
  """A V that is large and quick ends the run before the policy has moved."""
  small, large = (
    next(one_completion.rows([(1, 30)], [features], [100], seeds=1))
    for features in (0, 2048)
  )
  assert small["residual"] > 0.5
  assert large["residual"] < 0.1
  assert large["kl"] < 0.7 * small["kl"]


def test_the_committed_rows_say_what_the_page_says():
  text = (ROWS / "one_completion" / "rows.jsonl").read_text()
  found = [json.loads(line) for line in text.splitlines()]
  cases = len(one_completion.CASES) * len(one_completion.FEATURES)
  assert len(found) == cases * len(one_completion.EPOCHS) * one_completion.SEEDS

  def last(k, speed, features, name):
    mean = [
      row[name]
      for row in found
      if row["completions"] == k
      and row["speed"] == speed
      and row["features"] == features
      and row["epochs"] == 1000
    ]
    return np.mean(mean)

  gains = [last(1, 30, m, "gain") for m in one_completion.FEATURES[1:]]
  assert gains == sorted(gains, reverse=True)
  # The health line's warning: residual below 1%, policy below 0.1 nats.
  assert last(1, 30, 4096, "residual") < 0.01
  assert last(1, 30, 4096, "kl") < 0.1
  assert last(1, 30, 4096, "gain") < 0.5
  # The same V, and as fast, where four completions a prompt hold it.
  assert last(4, 30, 4096, "gain") > 0.9
  assert last(1, 1, 4096, "gain") > 0.8
