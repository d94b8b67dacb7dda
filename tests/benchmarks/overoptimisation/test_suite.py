"""Points that are kept, what is missing of them, proxies, and the page."""

import dataclasses

import numpy as np
import pytest
from absl import flags

from benchmarks import ops_sizes
from benchmarks.ops_policy import as_batch
from benchmarks.overoptimisation import (
  best_of,
  fits,
  proxies,
  report,
  suite,
  trained,
)
from benchmarks.overoptimisation.points import FOLDS, Points, read
from benchmarks.overoptimisation.proxies import DATA, NOISY, OWN, Proxy
from benchmarks.overoptimisation.suite import BEST_OF
from offalign.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pool():
  """12 samples of each of 40 prompts, of which some are alike."""
  place = RNG.integers(8, size=(40, 512))
  gold = np.take_along_axis(RNG.normal(size=(40, 8)), place, axis=1)
  empty = as_batch(*(np.zeros((1, 1), np.int32),) * 3)
  return best_of.Pool(np.zeros((40, 7), np.int32), empty, place, gold)


def curve(pool, name, seed, noise=0.0):
  scores = pool.gold + noise * RNG.normal(size=pool.gold.shape)
  return suite._best_of(pool, name, seed, scores, 1.6)


def test_points_are_appended_and_what_is_there_is_not_planned(tmp_path, pool):
  points = Points(tmp_path)
  name = proxies.names(OWN, DATA[0])[2]
  made = curve(pool, name, 1)
  assert len(made) == len(best_of.NS)
  assert made[0].gold == made[0].proxy_gain == made[0].kl == 0
  assert len(made[-1].folds) == FOLDS
  assert np.mean(made[-1].folds) == pytest.approx(made[-1].gold, abs=1e-5)
  every = sum(len(c.missing) for c in suite.plan([BEST_OF], 2, points))
  assert every == 2 * (8 + 2 * 5)
  points.add(made)
  cells = suite.plan([BEST_OF], 2, Points(tmp_path))
  assert sum(len(cell.missing) for cell in cells) == every - 1
  (cell,) = (c for c in cells if (c.size, c.data, c.seed) == (OWN, DATA[0], 1))
  assert (BEST_OF, name) not in cell.missing
  # A last line that was cut off is made again; another is an error.
  path = tmp_path / "rows.jsonl"
  whole = path.read_text()
  path.write_text(whole + whole[:50])
  assert len(read(path)) == len(made)
  assert path.read_text() == whole
  path.write_text("{}\n" + whole)
  with pytest.raises(UserError, match=r"rows\.jsonl:1 is no point"):
    read(path)


def test_best_of_n_comes_before_methods_that_train():
  class Nothing:
    def holds(self, *_):
      return False

  methods = suite.choose("")
  cells = suite.plan(methods, 1, Nothing())
  kinds = [{method for method, _ in cell.missing} for cell in cells]
  first = next(i for i, kind in enumerate(kinds) if kind != {BEST_OF})
  assert all(BEST_OF not in kind for kind in kinds[first:])
  names = {name for cell in cells[first:] for _, name in cell.missing}
  assert len(names) == 8  # four proxies of each of two kinds of data
  assert suite.choose("DPO; RLOO") == ["DPO", "RLOO"]
  with pytest.raises(UserError, match="'DP', which the suite"):
    suite.choose("DP")


def test_strengths_are_of_the_method():
  assert suite.strengths(BEST_OF) == best_of.NS
  assert suite.strengths("RLOO") == trained.ROUNDS


def test_members_are_put_on_one_scale_before_they_are_combined():
  gold = RNG.normal(size=(30, 16)) + 5 * RNG.normal(size=(30, 1))
  raw = np.stack([gold, 7.0 * gold + 3.0])
  proxy = Proxy("p", None, (None, None), "mean", 1).scaled(raw, gold)
  found = proxy.joined(raw)
  np.testing.assert_allclose(found, gold - gold.mean(), atol=1e-9)
  worst = dataclasses.replace(proxy, combine="worst").scaled(raw, gold)
  np.testing.assert_allclose(worst.joined(raw), found, atol=1e-9)
  apart = np.stack([gold, -gold])
  low = worst.scaled(apart, gold).joined(apart)
  assert low.mean() == pytest.approx(0, abs=1e-9)


def test_warm_is_the_mean_of_weights():
  trees = [{"a": np.full((2,), x, np.float32)} for x in (1.0, 2.0, 6.0)]
  assert proxies.average(trees)["a"].tolist() == [3.0, 3.0]


def test_some_labels_are_flipped(monkeypatch):
  n = 400
  tokens = np.tile(np.array([[[1], [2]]], np.int32), (n, 1, 1))
  rows = as_batch(np.zeros((n, 2), np.int32), tokens, np.ones((n, 2, 1), bool))
  monkeypatch.setattr(proxies.ops_log, "view", lambda *_: ("", rows, 0))
  feedback = type("Log", (), {"seed": 3})
  clean = proxies.pairs(feedback, DATA[0])
  assert clean.completions.shape == (64, 2, 1)
  assert (clean.completions[:, 0, 0] == 1).all()
  noisy = proxies.pairs(feedback, NOISY)
  assert (noisy.completions[:, 0, 0] == 2).mean() == pytest.approx(
    0.25, abs=0.1
  )


def test_the_page_says_what_was_seen_and_what_was_not_run(
  tmp_path, pool, monkeypatch
):
  monkeypatch.setattr(fits, "RESAMPLES", 50)
  points = []
  for seed in (1, 2):
    for i, name in enumerate(proxies.names(OWN, NOISY)):
      points += curve(pool, name, seed, noise=0.3 * i)
  points += suite._best_of(pool, suite.GOLD, 0, pool.gold, 0.0)
  page = report.write(tmp_path, points).read_text()
  assert "No peak of the gold reward was seen within the range" in page
  assert "none was seen within the range, which ends at 4.55 nats" in page
  assert "### WARM and ensembles" in page
  assert "12 differences bear a star" in page
  assert page.count("not run") == len(trained.NAMES)
  assert (tmp_path / "best-of-n.png").stat().st_size > 1000


def test_methods_that_train_add_whole_curves(tmp_path, monkeypatch, small):
  for module, name, value in (
    (best_of, "PROMPTS", 20),
    (best_of, "POOL", 8),
    (best_of, "NS", (1, 4)),
    (best_of.draw, "__defaults__", (20, 8)),
    (proxies, "STEPS", 2),
    (proxies, "MEMBERS", 2),
    (trained, "ROUNDS", (1, 2)),
    (trained, "_STRENGTHS", {"DPO": (1.0,), "DRO-V": (0.3,)}),
    (proxies, "cells", lambda: [(OWN, DATA[0])]),
    (ops_sizes, "PROMPTS", 64),
    (ops_sizes, "MODELS", {"decoder": proxies._SPEC.replace("{width}", "16")}),
  ):
    monkeypatch.setattr(module, name, value)
  name = proxies.names(OWN, DATA[0])[0]
  every = proxies.names
  monkeypatch.setattr(proxies, "names", lambda *of: every(*of)[:1])
  flags.FLAGS(["benchmarks.run"])
  suite.run(tmp_path, suite.choose(""), 1)
  found = read(tmp_path / "rows.jsonl")
  of = {m: [p for p in found if p.method == m] for m in suite.METHODS}
  assert [len(of[m]) for m in suite.METHODS] == [4, 2, 1, 1]
  assert [p.strength for p in of["RLOO"]] == [1, 2]
  assert all(p.kl >= 0 and len(p.folds) == FOLDS for p in found)
  assert {p.proxy for p in found} == {suite.GOLD, name}
  suite.run(tmp_path, suite.choose(""), 1)
  assert len(read(tmp_path / "rows.jsonl")) == len(found)
