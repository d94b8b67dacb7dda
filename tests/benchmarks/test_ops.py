"""The measurement of the `ops` track on a policy of a few steps."""

import types

import jax
import numpy as np
import pytest
from scipy import stats

from benchmarks import ops, ops_log, ops_metrics, ops_policy, ops_sizes
from benchmarks.methods import Method
from offalign.statistics import differences

SIZES = {
  "PROMPTS": 16,
  "STEPS": 4,
  "CURVE_EVERY": 4,
  "SFT_PROMPTS": 640,
  "SFT_STEPS": 40,
  "TEST": 200,
  "VALIDATION": 200,
  "ORACLE_SAMPLES": 16,
  "CHUNK": 200,
}


@pytest.fixture(scope="module")
def base():
  with pytest.MonkeyPatch.context() as patch:
    for name, value in SIZES.items():
      patch.setattr(ops_sizes, name, value)
    patch.setattr(ops, "SELECT", types.SimpleNamespace(value=False))
    ops.forget()
    yield ops_policy.prepare("decoder")
    ops.forget()


def test_the_starting_policy_gains_nothing(base):
  gains, within = [], 0
  for draw in range(12):
    found = ops.measure(base, base.params, f"sft, draw {draw}")
    for key, values in found.outcomes.items():
      assert found.metrics[key] == pytest.approx(values.mean())
    assert found.metrics["kl"] == 0.0
    gain = found.outcomes["reward_gain"]
    within += abs(gain.mean()) < 2 * stats.sem(gain)
    gains.append(gain)
  # One draw of twenty is further off by chance.
  assert within >= 10
  found = differences.mean(np.array(gains))
  assert abs(found.mean) < 2 * found.se < 0.03
  assert base.means.mean() == pytest.approx(base.frontier.base)
  said = ops_metrics.about(base.frontier, 16)
  assert "log 16 = 2.77 nats" in said


def test_the_best_of_n_by_gold_is_what_the_oracle_expects(base):
  found = ops.measure_best_of(base, 4, "best of 4, test")
  expected = next(best for best in base.best_of if best.n == 4)
  gain = expected.reward - base.frontier.base
  # A fresh draw of as many prompts, within its own spread.
  for key, right in (("win_vs_sft", expected.win), ("reward_gain", gain)):
    values = found.outcomes[key]
    assert found.metrics[key] == pytest.approx(values.mean())
    assert abs(values.mean() - right) < 4 * stats.sem(values)
  assert found.metrics["reward_gain"] > 0
  assert found.metrics["kl"] == pytest.approx(expected.kl_bound)
  again = ops.measure_best_of(base, 4, "best of 4, test")
  np.testing.assert_array_equal(found.rewards, again.rewards)


def test_training_says_its_tokens_and_how_often_z0_was_cut_off(base):
  feedback = ops_log.collect(base, 0)
  trained = ops.train(Method("kto(beta=3,threshold=batch)"), base, feedback)
  assert 0 <= trained.metrics["z0_clipped"] <= 1
  assert trained.metrics["z0"] >= 0
  steps = ops_sizes.STEPS * ops_sizes.COMPLETIONS
  assert steps < trained.metrics["tokens"] < steps * 11
  policy = sum(x.size for x in jax.tree.leaves(base.params))
  assert trained.metrics["parameters"] == policy


@pytest.mark.parametrize(
  "specs",
  [
    ("dro_v(tau=0.3)", "dro_v(tau=1.3)"),
    ("kto(beta=0.3)", "kto(beta=2)"),
    # Its terms depend on whether beta is 0, so that it keeps a step each.
    ("grpo(beta=0.1)", "grpo(beta=0.2)"),
  ],
)
def test_a_shared_step_trains_as_each_methods_own(base, specs):
  feedback = ops_log.collect(base, 0)
  for spec, rate in zip(specs, (1e-3, 3e-4), strict=True):
    own = 3e-3 if "dro" in spec else None
    method = Method(spec, learning_rate=rate, value_learning_rate=own)
    alone = ops.train(method, base, feedback).params
    shared = ops.train(method, base, feedback, shared=True).params
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6),
      alone,
      shared,
    )
