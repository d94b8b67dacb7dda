"""Reference log-probs: what is missing is scored, and once."""

import dataclasses

import numpy as np
import pytest
from mean_id import Scorer, attach, expected, pairs

from offalign import data
from offalign.data.text.ragged import Ragged
from offalign.distributed.signals import Stopped
from offalign.reference import scoring, store
from offalign.reference.store import Store


@pytest.fixture
def scorer(monkeypatch):
  return Scorer(monkeypatch)


def test_every_row_gets_its_own(tmp_path, scorer):
  rows = pairs()
  found = attach(rows, Store(tmp_path / "r", "me"), scorer)
  np.testing.assert_array_equal(found.ref_logps, expected(rows))
  assert scorer.scored == 8
  assert rows.ref_logps is None


def test_rows_that_are_not_wanted_stop_a_run_that_uses_them(tmp_path, scorer):
  kept = Store(tmp_path / "r", "me")
  found = attach(pairs(), kept, scorer, wanted=np.array([2]))
  assert np.isnan(found.ref_logps[[0, 1, 3]]).all()
  assert np.isfinite(found.ref_logps[2]).all()
  assert scorer.scored == 2


def test_only_what_is_missing_is_scored_whatever_the_order(
  tmp_path, scorer, capsys
):
  path = tmp_path / "r"
  attach(pairs("abc"), Store(path, "me"), scorer)
  assert scorer.scored == 6
  assert capsys.readouterr().out == "test: 6 of 6 sequences to score\n"
  rows = pairs("dcab")
  found = attach(rows, Store(path, "me"), scorer)
  assert scorer.scored == 8
  assert capsys.readouterr().out == "test: 2 of 8 sequences to score\n"
  np.testing.assert_array_equal(found.ref_logps, expected(rows))


class After:
  """Asks to stop at the n-th time that it is looked at."""

  def __init__(self, n):
    self.left = n

  def check(self):
    self.left -= 1
    if not self.left:
      raise Stopped


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["batch", "end"])
@pytest.mark.parametrize("batches", [1, 2])
def test_a_pass_that_was_cut_off_goes_on_with_whole_batches(
  batches, seconds, tmp_path, scorer, monkeypatch, capsys
):
  monkeypatch.setattr(store, "SECONDS", seconds)
  path, rows = tmp_path / "r", pairs()
  with pytest.raises(Stopped):
    attach(rows, Store(path, "me"), scorer, stop=After(batches))
  assert scorer.scored == 3 * batches
  assert len(list(path.iterdir())) == (batches if seconds == 0 else 1)
  capsys.readouterr()
  seen = []
  score = scorer.score
  monkeypatch.setattr(
    scorer, "score", lambda p, batch: seen.append(batch) or score(p, batch)
  )
  found = attach(rows, Store(path, "me"), scorer)
  np.testing.assert_array_equal(found.ref_logps, expected(rows))
  assert f"test: {8 - 3 * batches} of 8 sequences" in capsys.readouterr().out
  # The batches are those of a pass that was not cut off.
  seen_before = list(data.eval_batches(rows.unique(), 3))[batches:]
  for batch, other in zip(seen, seen_before, strict=True):
    np.testing.assert_array_equal(batch.completions, other.completions)


def test_a_sequence_that_comes_twice_is_scored_once(tmp_path, scorer):
  rows = pairs("ab")
  places = np.array([0, 1, 0, 2, 3])
  twice = rows.unique().take(places)
  again = dataclasses.replace(
    twice,
    completions=Ragged.of([twice.completions[u] for u in places]),
    completion_prompt=twice.completion_prompt[places],
    completion_index=np.arange(5)[:, None],
  )
  attach(again, Store(tmp_path / "r", "me"), scorer)
  assert scorer.scored == 4


def test_scores_do_not_depend_on_which_are_asked_for(scorer):
  rows = pairs()
  every = scoring.distinct_logps(rows, np.arange(8), scorer, 1.0, batch_size=3)
  some = scoring.distinct_logps(
    rows, np.array([5, 2]), scorer, 1.0, batch_size=3
  )
  np.testing.assert_array_equal(some, every[[5, 2]])
