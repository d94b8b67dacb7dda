"""Rounds on the ops track: what a round's completions become, and the board."""

import dataclasses

import numpy as np
import pytest
from absl import flags

from benchmarks import ops_sizes, run
from benchmarks.ops_policy import as_batch
from benchmarks.rlhf import cost_plot, costs, online, suite
from offalign import leaderboard, losses
from offalign.errors import UserError

REWARDS = np.array([[0.5, -1.0, 2.0], [0.1, 0.1, 0.1]])


def viewed(view, top=None):
  tokens = np.arange(12, dtype=np.int32).reshape(2, 3, 2)
  rows = as_batch(np.zeros((2, 4), np.int32), tokens, np.ones((2, 3, 2), bool))
  rows = dataclasses.replace(rows, behaviour_token_logps=-0.5 * tokens)
  logps = -np.arange(6, dtype=np.float32).reshape(2, 3)
  return online._viewed(view, rows, REWARDS, logps - 1, logps, top)


def test_the_best_and_the_worst_are_a_pair_and_a_tie_counts_nothing():
  batch = viewed("best and worst")
  assert batch.completions[0].tolist() == [[4, 5], [2, 3]]
  assert batch.behaviour_token_logps[0].tolist() == [[-2, -2.5], [-1, -1.5]]
  assert batch.behaviour_logps[0].tolist() == [-2, -1]
  assert batch.ref_logps[0].tolist() == [-3, -2]
  assert batch.weight.tolist() == [1, 0]


def test_singles_keep_their_prompt_and_their_order():
  batch = viewed("singles")
  assert batch.completions.shape == (6, 1, 2)
  assert batch.prompts.shape == (6, 4)
  np.testing.assert_allclose(batch.rewards.ravel(), REWARDS.ravel(), rtol=1e-6)
  assert batch.labels.ravel().tolist() == [True, False, True, True, True, True]


def test_rest_raises_its_threshold():
  assert online._top(REWARDS, 0.0) == np.median(REWARDS)
  assert online._top(REWARDS, 0.9) > online._top(REWARDS, 0.1)
  batch = viewed("top", top=1.0)
  assert batch.labels.ravel().tolist() == [False, False, True] + 3 * [False]


def test_costs_are_counted_by_token():
  rows = viewed("groups")
  assert costs.tokens(rows) == 2 * 3 * (2 + 4)
  counted = costs.Costs()
  counted.generated(rows, parameters=1000)
  counted.scored(rows, parameters=10)
  counted.trained(36, parameters=100)
  assert counted.metrics() == {
    "generations": 6.0,
    "scores": 6.0,
    "gflops": round((2 * 36 * 1010 + 6 * 36 * 100) / 1e9, 3),
  }


def test_every_method_has_strengths_that_its_loss_takes():
  names = [method.name for method in suite.METHODS]
  assert len(set(names)) == len(names)
  for method in suite.METHODS:
    for strength in method.strengths:
      losses.get(method.method(strength).loss)
    if isinstance(method, online.Online):
      # As many completions and updates as every other method.
      assert ops_sizes.STEPS % method.every == 0
      assert ops_sizes.COMPLETIONS * method.every % method.k == 0
  with pytest.raises(UserError, match="does not have"):
    suite.choose("RLHF")


@pytest.mark.slow
def test_the_suite_runs_and_goes_on(small, tmp_path, monkeypatch):
  monkeypatch.setattr(ops_sizes, "STEPS", 8)
  monkeypatch.setattr(ops_sizes, "PROMPTS", 64)
  monkeypatch.setattr(ops_sizes, "CURVE_EVERY", 4)
  short = [
    dataclasses.replace(method, strengths=method.strengths[:1])
    for method in suite.METHODS
    if method.name in ("DRO-V", "REBEL, iterated", "ReST")
  ]
  short[1:] = [dataclasses.replace(m, every=4) for m in short[1:]]
  monkeypatch.setattr(suite, "METHODS", short)
  given = ["benchmarks.run", "--suite=rlhf", "--seeds=1", f"--out={tmp_path}"]
  for _ in range(2):
    flags.FLAGS.unparse_flags()
    flags.FLAGS(given)
    try:
      assert run.main(["benchmarks.run"]) == 0
    finally:
      for name in ("suite", "seeds", "out"):
        flags.FLAGS[name].unparse()
    rows, problems = leaderboard.read(tmp_path)
    assert not problems
    found = {row.label: row for row in rows}
    assert len(found) == len(rows) == 5
  assert all(row.status == "ok" for row in rows), [row.error for row in rows]
  assert found["DRO-V"].metrics["generations"] == 0
  assert found["REBEL, iterated"].metrics["generations"] == 8 * 32
  assert found["best of 16"].metrics["scores"] == 20 * 16
  assert found["ReST"].metrics["gflops"] > found["DRO-V"].metrics["gflops"]
  assert "reward models order" in (tmp_path / "report.md").read_text()
  assert (tmp_path / cost_plot.NAME).read_bytes()[:4] == b"\x89PNG"
  assert set(cost_plot.points(rows)) == set(found)
  ways = cost_plot.ways(rows)
  assert set(ways) == {"DRO-V", "REBEL, iterated", "ReST"}
  for label, (spent, gained) in ways.items():
    assert len(spent) == len(gained) == 3, label  # 0, 4 and 8 updates
    assert gained[0] == 0
    assert (np.diff(spent) > 0).all()
    assert spent[-1] == pytest.approx(found[label].metrics["gflops"], abs=1e-2)
  assert ways["DRO-V"][0][0] == 0  # no reward model
