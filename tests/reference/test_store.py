"""Stored reference log-probs: kept by content, never of another model."""

import numpy as np
import pytest
import runs
from mean_id import Scorer, attach, expected, pairs

from offalign.distributed import hosts
from offalign.errors import UserError
from offalign.reference.store import Store


@pytest.fixture
def scorer(monkeypatch):
  return Scorer(monkeypatch)


def test_another_reference_is_refused(tmp_path, scorer):
  path = tmp_path / "r"
  attach(pairs(), Store(path, "me"), scorer)
  before = runs.contents(path)
  with pytest.raises(
    UserError,
    match=r"\.npz holds log-probs of another reference \(me; this run's is "
    r"you\): name another out, or delete the folder$",
  ):
    Store(path, "you")
  assert runs.contents(path) == before


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
