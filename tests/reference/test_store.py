"""Reference log-probs: scored once, kept by content, never of another model."""

import dataclasses

import numpy as np
import pytest
import runs

from offalign import data, losses
from offalign.data import Record
from offalign.data.batches.ragged import Ragged
from offalign.distributed import hosts, sharding
from offalign.distributed.signals import Stopped
from offalign.errors import UserError
from offalign.reference import store as reference
from offalign.training.accuracy import reward_accuracy
from offalign.types import Kind

TOKENIZER = data.make_tokenizer("byte")


def pairs(names="abcd"):
  """A pair for each name; the rejected completion is one letter longer."""
  records = [
    Record(f"say {n}", (n, n + "!"), None, None, True, f"log:{i}")
    for i, n in enumerate(names)
  ]
  return data.tokenize(data.view(records, Kind.PAIR), TOKENIZER)


class Scorer:
  """A learner whose log-prob is minus the mean id of prompt and completion.

  Attributes:
    scored: sequences scored so far, filling left out.
  """

  loss = losses.get("dpo")

  def __init__(self, monkeypatch):
    self.scored = 0
    self.mesh = sharding.one_device()
    monkeypatch.setattr(sharding, "put_batch", lambda mesh, batch: batch)

  def score(self, params, batch):
    self.scored += int((batch.weight > 0).sum())
    x = np.where(batch.prompt_mask, batch.prompts, 0).sum(-1)
    y = np.where(batch.completion_mask, batch.completions, 0).sum(-1)
    return -params * (x[:, None] + y).astype(np.float32) / 100


@pytest.fixture
def scorer(monkeypatch):
  return Scorer(monkeypatch)


def attach(rows, store, scorer, wanted=None, stop=None):
  wanted = np.arange(len(rows)) if wanted is None else wanted
  return reference.attach(
    rows, wanted, store, scorer, 1.0, batch_size=3, title="test", stop=stop
  )


def expected(rows):
  x = np.array([rows.prompts[q].sum() for q in rows.prompt_index])
  y = [[rows.completions[u].sum() for u in us] for us in rows.completion_index]
  return -((x[:, None] + np.array(y)).astype(np.float32) / 100)


def test_every_row_gets_its_own(tmp_path, scorer):
  rows = pairs()
  found = attach(rows, reference.Store(tmp_path / "r", "me"), scorer)
  np.testing.assert_array_equal(found.ref_logps, expected(rows))
  assert scorer.scored == 8
  assert rows.ref_logps is None


def test_rows_that_are_not_wanted_stop_a_run_that_uses_them(tmp_path, scorer):
  store = reference.Store(tmp_path / "r", "me")
  found = attach(pairs(), store, scorer, wanted=np.array([2]))
  assert np.isnan(found.ref_logps[[0, 1, 3]]).all()
  assert np.isfinite(found.ref_logps[2]).all()
  assert scorer.scored == 2


def test_only_what_is_missing_is_scored_whatever_the_order(
  tmp_path, scorer, capsys
):
  path = tmp_path / "r"
  attach(pairs("abc"), reference.Store(path, "me"), scorer)
  assert scorer.scored == 6
  assert capsys.readouterr().out == "test: 6 of 6 sequences to score\n"
  rows = pairs("dcab")
  found = attach(rows, reference.Store(path, "me"), scorer)
  assert scorer.scored == 8
  assert capsys.readouterr().out == "test: 2 of 8 sequences to score\n"
  np.testing.assert_array_equal(found.ref_logps, expected(rows))


def test_another_reference_is_refused(tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), reference.Store(path, "me"), scorer)
  before = runs.contents(path)
  with pytest.raises(
    UserError,
    match=r"\.npz holds log-probs of another reference \(me; this run's is "
    r"you\): name another out, or delete the folder$",
  ):
    reference.Store(path, "you")
  assert runs.contents(path) == before


@pytest.mark.parametrize("keep", [0, 100])
def test_a_broken_file_is_named(keep, tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), reference.Store(path, "me"), scorer)
  (file,) = path.iterdir()
  file.write_bytes(file.read_bytes()[:keep])
  with pytest.raises(UserError, match=r"\.npz cannot be read: delete it"):
    reference.Store(path, "me")


def test_a_file_half_written_is_not_looked_at(tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), reference.Store(path, "me"), scorer)
  (path / "0123.part-1").write_bytes(b"half")
  attach(pairs(), reference.Store(path, "me"), scorer)
  assert scorer.scored == 8


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
  monkeypatch.setattr(reference, "SECONDS", seconds)
  path, rows = tmp_path / "r", pairs()
  with pytest.raises(Stopped):
    attach(rows, reference.Store(path, "me"), scorer, stop=After(batches))
  assert scorer.scored == 3 * batches
  assert len(list(path.iterdir())) == (batches if seconds == 0 else 1)
  capsys.readouterr()
  seen = []
  score = scorer.score
  monkeypatch.setattr(
    scorer, "score", lambda p, batch: seen.append(batch) or score(p, batch)
  )
  found = attach(rows, reference.Store(path, "me"), scorer)
  np.testing.assert_array_equal(found.ref_logps, expected(rows))
  assert f"test: {8 - 3 * batches} of 8 sequences" in capsys.readouterr().out
  # The batches are those of a pass that was not cut off.
  seen_before = list(data.eval_batches(rows.unique(), 3))[batches:]
  for batch, other in zip(seen, seen_before, strict=True):
    np.testing.assert_array_equal(batch.completions, other.completions)


def test_writers_of_one_folder_do_not_hinder_each_other(tmp_path, scorer):
  path = tmp_path / "r"
  stores = [reference.Store(path, "me") for _ in range(3)]
  for names, store in zip(("ab", "bc", "ab"), stores, strict=True):
    attach(pairs(names), store, scorer)
  assert len(list(path.iterdir())) == 2  # the same content is one file
  before = scorer.scored
  attach(pairs("abc"), reference.Store(path, "me"), scorer)
  assert scorer.scored == before


def test_only_the_first_process_writes(tmp_path, scorer, monkeypatch):
  monkeypatch.setattr(hosts, "is_first", lambda: False)
  store = reference.Store(tmp_path / "r", "me")
  found = attach(pairs(), store, scorer)
  np.testing.assert_array_equal(found.ref_logps, expected(pairs()))
  assert not (tmp_path / "r").exists()


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
  attach(again, reference.Store(tmp_path / "r", "me"), scorer)
  assert scorer.scored == 4


def test_accuracy_counts_pairs_and_halves_of_ties(tmp_path, scorer):
  rows = attach(pairs(), reference.Store(tmp_path / "r", "me"), scorer)
  same = reward_accuracy(scorer, 1.0, rows, batch_size=3)
  assert same == {
    "rewards/chosen": 0.0,
    "rewards/rejected": 0.0,
    "rewards/margins": 0.0,
    "rewards/accuracies": 0.5,
  }
  # Twice the weight: log-ratios are the log-probs, longer ones lower.
  moved = reward_accuracy(scorer, 2.0, rows, batch_size=3)
  logps = expected(rows)
  assert moved["rewards/accuracies"] == 1.0
  assert moved["rewards/chosen"] == pytest.approx(0.1 * logps[:, 0].mean())
  assert moved["rewards/margins"] == pytest.approx(
    0.1 * (logps[:, 0] - logps[:, 1]).mean()
  )
  tie = rows.take(np.array([0, 1]))
  tie.completion_index[1, 1] = tie.completion_index[1, 0]
  tie.ref_logps[1, 1] = tie.ref_logps[1, 0]
  mixed = reward_accuracy(scorer, 2.0, tie, batch_size=3)
  assert mixed["rewards/accuracies"] == 0.75


def test_accuracy_uses_the_reward_of_the_loss(tmp_path, scorer):
  rows = attach(pairs(), reference.Store(tmp_path / "r", "me"), scorer)
  scorer.loss = losses.get("simpo(beta=2.0)")
  found = reward_accuracy(scorer, 1.0, rows, batch_size=3)
  lengths = np.array([[2, 3]] * 4)  # a letter, perhaps a mark, and EOS
  chosen, rejected = (2.0 * expected(rows) / lengths).mean(0)
  assert found["rewards/chosen"] == pytest.approx(chosen)
  assert found["rewards/rejected"] == pytest.approx(rejected)


def test_scores_do_not_depend_on_which_are_asked_for(scorer):
  rows = pairs()
  every = reference.distinct_logps(
    rows, np.arange(8), scorer, 1.0, batch_size=3
  )
  some = reference.distinct_logps(
    rows, np.array([5, 2]), scorer, 1.0, batch_size=3
  )
  np.testing.assert_array_equal(some, every[[5, 2]])
