"""Losses and gradients against executed peers and printed formulas."""

import numpy as np
import pytest
from golden_cases import BUILDERS, GOLDEN, Case, cases, read
from oracles import BY_TOKEN, ORACLES

from offalign import losses
from offalign.testing import evaluate

# atol is the files' own: gradients there pass through 0.
RTOL, ATOL = 1e-9, 1e-11

CASES = list(cases())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_values_and_gradients_match_the_golden_case(case: Case):
  got = evaluate(case.spec, **case.columns)
  if case.losses is not None:
    np.testing.assert_allclose(got.values, case.losses, RTOL, ATOL)
  np.testing.assert_allclose(got.values.mean(), case.loss, RTOL, ATOL)
  assert got.grads.keys() == case.grads.keys()
  for name, grad in case.grads.items():
    np.testing.assert_allclose(got.grads[name], grad, case.grad_rtol, ATOL)
  for name, metric in case.metrics.items():
    np.testing.assert_allclose(got.metrics[name], metric, RTOL, ATOL)


@pytest.mark.parametrize(
  "case",
  [c for c in read("formula_dro_v") if c["variant"].startswith("kto_labels")],
  ids=lambda case: case["name"],
)
def test_kto_labels_are_rewards_above_the_batch_mean(case):
  rewards = np.asarray(case["inputs"]["rewards"])[:, None]
  labels = np.asarray(case["expected"]["labels"])[:, None]
  rng = np.random.default_rng(0)
  table = {
    "logps": rng.normal(size=rewards.shape) - 20.0,
    "ref_logps": rng.normal(size=rewards.shape) - 20.0,
    "kl": 0.1,
  }
  by_reward = evaluate("kto(threshold=batch)", **table, rewards=rewards)
  by_label = evaluate("kto", **table, labels=labels)
  np.testing.assert_array_equal(by_reward.values, by_label.values)
  np.testing.assert_array_equal(
    by_reward.grads["logps"], by_label.grads["logps"]
  )
  chosen = by_reward.metrics["rewards/chosen"]
  np.testing.assert_array_equal(np.isfinite(chosen), labels)


def test_every_file_is_used():
  files = {path.stem for path in GOLDEN.glob("*.json")}
  assert files == {file for file, _ in BUILDERS}


def test_every_case_is_used():
  known = set(BUILDERS) | {("formula_dro_v", "kto_labels_from_batch_mean")}
  for path in GOLDEN.glob("*.json"):
    for case in read(path.stem):
      assert (path.stem, case["variant"]) in known


def test_every_loss_has_golden_cases():
  ours = {
    name
    for name in losses.names()
    if losses.definition(name).fn.__module__.startswith("offalign.")
  }
  held = {losses.get(case.spec).name for case in CASES} | set(ORACLES)
  held |= BY_TOKEN
  assert ours <= held, (
    f"{sorted(ours - held)} is held against no golden case; add a file to "
    "golden/ and a builder to golden_cases.py, or an oracle to oracles.py"
  )
