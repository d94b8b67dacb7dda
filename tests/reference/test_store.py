"""Stored reference log-probs: kept by content, never of another model."""

import shutil

import jax
import numpy as np
import pytest
import runs
from mean_id import Scorer, attach, expected, pairs

from offalign.distributed import hosts
from offalign.errors import UserError
from offalign.policy.folder import read_about
from offalign.reference import scoring
from offalign.reference.store import Shared, Store
from offalign.training.run import Run


@pytest.fixture
def scorer(monkeypatch):
  return Scorer(monkeypatch)


def test_a_folder_keeps_several_references_apart(tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), Store(path, "me"), scorer)
  before, scored = runs.contents(path), scorer.scored
  other = Store(path, "you")
  assert other.known == {}
  attach(pairs(), other, scorer)
  assert scorer.scored == 2 * scored
  assert before.items() < runs.contents(path).items()
  for identity in ("me", "you"):
    attach(pairs(), Store(path, identity), scorer)
  assert scorer.scored == 2 * scored


@pytest.mark.parametrize("keep", [0, 100])
def test_a_broken_file_is_named(keep, tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), Store(path, "me"), scorer)
  (file,) = path.iterdir()
  file.write_bytes(file.read_bytes()[:keep])
  with pytest.raises(UserError, match=r"\.npz cannot be read: delete it"):
    Store(path, "me")


def test_a_file_half_written_is_not_looked_at(tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), Store(path, "me"), scorer)
  (path / "0123.part-1").write_bytes(b"half")
  attach(pairs(), Store(path, "me"), scorer)
  assert scorer.scored == 8


def test_writers_of_one_folder_do_not_hinder_each_other(tmp_path, scorer):
  path = tmp_path / "r"
  stores = [Store(path, "me") for _ in range(3)]
  for names, store in zip(("ab", "bc", "ab"), stores, strict=True):
    attach(pairs(names), store, scorer)
  assert len(list(path.iterdir())) == 2  # the same content is one file
  before = scorer.scored
  attach(pairs("abc"), Store(path, "me"), scorer)
  assert scorer.scored == before


def test_only_the_first_process_writes(tmp_path, scorer, monkeypatch):
  monkeypatch.setattr(hosts, "is_first", lambda: False)
  store = Store(tmp_path / "r", "me")
  found = attach(pairs(), store, scorer)
  np.testing.assert_array_equal(found.ref_logps, expected(pairs()))
  assert not (tmp_path / "r").exists()


def filled(folder, identity="me", shared=None, **logps):
  made = Store(folder, identity, shared)
  made.add(list(logps), np.array(list(logps.values()), np.float32))
  made.flush()
  return made


def test_runs_with_the_same_weights_share(tmp_path):
  cache = tmp_path / "cache"
  filled(tmp_path / "r", "one at /here", Shared(cache, "w"), a=-1.5, b=-2.5)
  other = Store(tmp_path / "s", "two at /there", Shared(cache, "w"))
  assert other.known == {}
  assert other.take_over(["a", "z"]) == 1
  assert other.take_over(["a"]) == 0
  # The folder of the run is whole without the cache.
  shutil.rmtree(cache)
  assert Store(tmp_path / "s", "two at /there").known == {"a": -1.5}


def test_other_weights_do_not(tmp_path):
  cache = tmp_path / "cache"
  filled(tmp_path / "r", shared=Shared(cache, "w"), a=-1.5)
  assert Store(tmp_path / "s", "x", Shared(cache, "v")).take_over(["a"]) == 0


def test_a_damaged_file_of_the_cache_is_computed_again(tmp_path):
  cache = tmp_path / "cache"
  filled(tmp_path / "r", shared=Shared(cache, "w"), a=-1.5)
  (file,) = cache.glob("*/*.npz")
  file.write_bytes(b"PK" + file.read_bytes()[2:60])
  assert Store(tmp_path / "s", "x", Shared(cache, "w")).take_over(["a"]) == 0


def test_a_cache_that_cannot_be_written(tmp_path):
  (tmp_path / "cache").write_text("a file")
  with pytest.raises(UserError, match=r"/reference-\w+ cannot be written \("):
    filled(tmp_path / "r", shared=Shared(tmp_path / "cache", "w"), a=-1.5)


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_second_run_scores_nothing_again(tmp_path, monkeypatch):
  log = runs.write_log(tmp_path / "log.jsonl")
  cache = {"data__cache": str(tmp_path / "cache"), "steps": 2}
  plain = runs.train(log, tmp_path / "plain", loss="dpo", steps=2)
  runs.train(log, tmp_path / "first", loss="dpo(beta=0.2)", **cache)
  scored = []
  whole = scoring.scored

  def watched(rows, which, *args, **options):
    if options.get("title"):  # a pass of the reference, not an evaluation
      scored.append((options["title"], len(which)))
    return whole(rows, which, *args, **options)

  monkeypatch.setattr(scoring, "scored", watched)
  second = runs.train(log, tmp_path / "second", loss="dpo", **cache)
  assert scored == []

  def lines(run):
    return [
      {k: v for k, v in line.items() if k != "tokens_per_second"}
      for line in runs.metrics(run.folder)
    ]

  assert lines(second) == lines(plain)
  # Of other weights, or in another precision, everything is scored.
  runs.train(log, tmp_path / "seed", loss="dpo", seed=1, **cache)
  assert scored
  scored.clear()
  runs.train(
    log, tmp_path / "half", loss="dpo", compute_dtype="bfloat16", **cache
  )
  assert scored
  start = read_about(second.folder)["start"]
  assert Store(second.folder / "reference", start).known


def test_log_probs_of_tokens_are_kept_beside_the_sums(tmp_path):
  whole = filled(tmp_path / "r", a=-1.5, b=-3.0)
  each = {"a": [-0.5, -1.0], "b": [-1.0, -1.5, -0.5]}
  tokens = whole.by_token()
  tokens.add(list(each), [np.array(x, np.float32) for x in each.values()])
  tokens.flush()
  again = Store(tmp_path / "r", "me")
  assert again.known == {"a": -1.5, "b": -3.0}
  found = again.by_token().known
  assert {key: x.tolist() for key, x in found.items()} == each
  assert Store(tmp_path / "r", "you").by_token().known == {}


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_holds_the_reference_of_tokens_as_data(tmp_path):
  """So that no step computes it, and a run that goes on scores nothing."""
  log = runs.write_log(tmp_path / "log.jsonl")
  given = {"loss": "grpo(kl=token)", "steps": 2, "save_every": 1}
  run = Run(runs.config(log, tmp_path / "run", **given))
  seen = []
  step = run.learner.train_step

  def watched(state, batch, ref):
    seen.append((jax.device_get(batch), ref))
    return step(state, batch, ref)

  run.learner.__dict__["train_step"] = watched
  first = run._first
  run.train()
  batch, ref = seen[0]
  assert ref is None
  summed = batch.ref_token_logps.sum(-1)
  right = run.learner.score(first, batch)
  np.testing.assert_allclose(summed, right, atol=1e-4)
  assert not batch.ref_token_logps[~batch.completion_mask].any()
