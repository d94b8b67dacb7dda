"""Coverage is counted over logs, of policies whose worth is known."""

import types

import numpy as np
import pytest

from benchmarks import estimate_coverage, ops_policy
from benchmarks.estimate_coverage import Pool
from benchmarks.ops_policy import Drawn
from benchmarks.worlds.setting import Setting

LOGS = 6


class Scoring:
  """Gold is 1 or 0 at random; the new policy has `gap` nats more or less."""

  def __init__(self, gap):
    self.rng, self.gap = np.random.default_rng(0), gap

  def gold(self, prompts, drawn):
    return self.rng.integers(0, 2, len(prompts)).astype(float)

  modelled = gold

  def logps(self, params, prompts, drawn):
    return self.gap * self.rng.normal(size=len(prompts))


def drawn(*args):
  n = len(args[3])
  return Drawn(np.zeros((n, 1)), np.ones((n, 1)), np.zeros(n), np.zeros((n, 1)))


@pytest.mark.parametrize(("gap", "refused"), [(0.0, 0), (20.0, LOGS)])
def test_a_row_counts_what_covers_and_what_is_refused(
  monkeypatch, gap, refused
):
  monkeypatch.setattr(ops_policy, "draw", drawn)
  base = types.SimpleNamespace(setting=Setting(), model=None, params=None)
  scoring, each = Scoring(gap), estimate_coverage.PROMPTS
  prompts = base.setting.world.prompts_of(
    "test", LOGS * each, np.random.default_rng(0)
  )
  logged = np.repeat(prompts, estimate_coverage.K, axis=0)
  found = drawn(None, None, None, logged)
  shape = (len(prompts), estimate_coverage.K)
  pool = Pool(
    prompts,
    found,
    scoring.gold(logged, found).reshape(shape),
    scoring.gold(logged, found).reshape(shape),
  )
  row = estimate_coverage.measure("new", None, base, pool, scoring)
  assert row["refused"] == refused
  assert row["truth"] == pytest.approx(0.5, abs=0.03)
  cells = estimate_coverage.table([row]).splitlines()[-1].split(" | ")
  if refused:
    assert "importance" not in row
    assert cells[4:] == ["6 of 6", "–", "–", "– |"]
  else:
    assert row["effective"] == each * estimate_coverage.K
    assert row["importance"]["of"] == LOGS
    assert row["importance"]["covered"] >= LOGS - 2
    assert cells[4] == "0 of 6"
