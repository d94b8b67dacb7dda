"""The measurement of the `ops` track on a policy of a few steps."""

import jax
import numpy as np
import pytest
from scipy import stats

from benchmarks import ops, ops_log, ops_metrics, ops_policy, ops_sizes
from benchmarks.methods import Method


@pytest.fixture
def base(small, monkeypatch):
  monkeypatch.setattr(ops_sizes, "TEST", 200)
  monkeypatch.setattr(ops_sizes, "SFT_STEPS", 40)
  monkeypatch.setattr(ops_sizes, "SFT_PROMPTS", 2000)
  return ops_policy.prepare("decoder")


def test_the_starting_policy_gains_nothing(base):
  means, errors = [], []
  for draw in range(6):
    found = ops.measure(base, base.params, f"sft, draw {draw}")
    gain = found.outcomes["reward_gain"]
    assert found.metrics["reward_gain"] == pytest.approx(gain.mean())
    assert found.metrics["kl"] == 0.0
    assert found.metrics["win_vs_sft"] == pytest.approx(
      found.outcomes["win_vs_sft"].mean()
    )
    means.append(gain.mean())
    errors.append(stats.sem(gain))
  assert abs(means[0]) < 2 * errors[0]
  assert abs(np.mean(means)) < 2 * np.mean(errors) / np.sqrt(6)
  assert base.means.mean() == pytest.approx(base.frontier.base)
  said = ops_metrics.about(base.frontier, 16)
  assert "log 16 = 2.77 nats" in said


def test_kto_says_how_often_its_z0_was_cut_off(base):
  feedback = ops_log.collect(base, 0)
  trained = ops.train(Method("kto(beta=3,threshold=batch)"), base, feedback)
  assert 0 <= trained.metrics["z0_clipped"] <= 1
  assert trained.metrics["z0"] >= 0
  steps = ops_sizes.STEPS * ops_sizes.COMPLETIONS
  assert steps < trained.metrics["tokens"] < steps * 11
  trained = ops.train(Method("dpo"), base, feedback)
  assert "z0" not in trained.metrics
  policy = sum(x.size for x in jax.tree.leaves(base.params))
  assert trained.metrics["parameters"] == policy
  dro = ops.train(Method("dro_v"), base, feedback)
  assert dro.metrics["parameters"] > 1.9 * policy
