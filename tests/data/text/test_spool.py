"""Tokens in a file without a name: the same tokens, and nothing left behind."""

import dataclasses
import errno
import gc
import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from offalign import data
from offalign.data.batches import token_cache
from offalign.data.text import spool
from offalign.data.text.ragged import Ragged
from offalign.data.text.spool import Spool
from offalign.errors import UserError
from offalign.files import Unwritten
from offalign.types import Kind


def _arrays(lengths):
  rng = np.random.default_rng(0)
  return [rng.integers(0, 9999, n).astype(np.int32) for n in lengths]


@hypothesis.given(
  st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5),
  st.sampled_from([0, 16, 1 << 20]),
)
def test_a_file_holds_what_memory_would(tmp_path_factory, parts, most):
  parts = [_arrays(lengths) for lengths in parts]
  found = Spool(tmp_path_factory.getbasetemp(), most)
  for part in parts:
    found.add(part)
  found = found.done()
  wanted = Ragged.of([each for part in parts for each in part])
  np.testing.assert_array_equal(found.tokens, wanted.tokens)
  np.testing.assert_array_equal(found.offsets, wanted.offsets)
  assert found.tokens.dtype == np.int32
  found.release()
  assert [each.tolist() for each in found] == [e.tolist() for e in wanted]
  for start, block in found.blocks():
    np.testing.assert_array_equal(block, wanted.tokens[start:])


def test_few_tokens_stay_in_memory_and_many_do_not(tmp_path):
  for n, mapped in ((4, False), (5, True)):
    found = Spool(tmp_path, most=16)
    found.add(_arrays([n]))
    assert (found.done().mapped is not None) is mapped
  found = Spool(None, most=0)
  found.add(_arrays([5]))
  assert found.done().mapped is None


def test_the_file_has_no_name_and_goes_with_its_tokens(tmp_path):
  def open_files():
    links = (os.readlink(f"/proc/self/fd/{fd}") for fd in descriptors())
    return [link for link in links if str(tmp_path) in link]

  def descriptors():
    return [fd for fd in os.listdir("/proc/self/fd") if _is_open(fd)]

  def _is_open(fd):
    return os.path.lexists(f"/proc/self/fd/{fd}")

  made = Spool(tmp_path / "not" / "made" / "yet", most=0)
  made.add(_arrays([1000]))
  assert list(tmp_path.iterdir()) == []
  found = made.done()
  assert list(tmp_path.iterdir()) == []
  assert found.mapped is not None
  del made, found
  gc.collect()
  assert open_files() == []


def test_a_full_disk_ends_in_a_sentence(tmp_path, monkeypatch):
  class Full:
    def write(self, part):
      raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(spool, "_nameless", lambda folder: Full())
  made = Spool(tmp_path, most=0)
  with pytest.raises(Unwritten, match=r"tokens, .*: make room on its disk"):
    made.add(_arrays([5]))


def test_a_folder_that_cannot_be_written_to_has_another(tmp_path, monkeypatch):
  real = spool.tempfile.TemporaryFile

  def closed(dir=None):
    if dir is not None:
      raise PermissionError(errno.EACCES, "Permission denied")
    return real()

  monkeypatch.setattr(spool.tempfile, "TemporaryFile", closed)
  made = Spool(tmp_path, most=0)
  made.add(_arrays([5]))
  assert made.done().tokens.tolist() == _arrays([5])[0].tolist()


ROWS = [(f"prompt {i}", f"answer {i % 7}") for i in range(3000)]


def _rows(tmp_path, rows=ROWS, **options):
  records = [
    data.Record(x, (y,), (float(i),), None, False, f"f:{i}")
    for i, (x, y) in enumerate(rows)
  ]
  view = data.view(records, Kind.SINGLE, ["rewards"])
  tokenizer = data.make_tokenizer("bpe", [x for x, _ in rows], 300)
  return data.tokenize(view, tokenizer, max_prompt=6, **options)


def _same(one, other):
  assert one.keys() == other.keys()
  assert (one.summary, one.sources) == (other.summary, other.sources)
  for name in ("prompts", "completions"):
    a, b = getattr(one, name), getattr(other, name)
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.offsets, b.offsets)
  np.testing.assert_array_equal(one.prompt_digests, other.prompt_digests)
  first = np.array([len(one) - 1, 0, 3])
  a, b = data.batch(one, first), data.batch(other, first)
  np.testing.assert_array_equal(a.completions, b.completions)
  np.testing.assert_array_equal(a.prompts, b.prompts)


def test_rows_are_the_same_from_memory_a_file_and_the_cache(
  tmp_path, monkeypatch
):
  wanted = _rows(tmp_path)
  monkeypatch.setattr(Spool.__init__, "__defaults__", (0,))
  found = _rows(tmp_path, spool=tmp_path)
  assert found.prompts.mapped is not None
  assert found.completions.mapped is not None
  _same(found, wanted)
  cache = tmp_path / "cache"
  _same(_rows(tmp_path, spool=tmp_path, cache=cache), wanted)
  again = _rows(tmp_path, spool=tmp_path, cache=cache)
  assert again.summary[-1].startswith("tokens read from ")
  (file,) = cache.iterdir()
  # What the run reads is its own: the cache may be emptied, or cut.
  os.truncate(file, 10)
  file.unlink()
  _same(again, found_with(wanted, again))


def found_with(rows, other):
  """`rows` with the sentences of others, which name the cache."""
  return dataclasses.replace(rows, summary=other.summary)


def test_a_disk_that_is_full_while_the_cache_is_read(tmp_path, monkeypatch):
  cache = tmp_path / "cache"
  _rows(tmp_path, cache=cache)

  def full(self, tokens):
    raise Unwritten("no room")

  monkeypatch.setattr(Spool, "fill", full)
  with pytest.raises(UserError, match="no room"):
    _rows(tmp_path, cache=cache, spool=tmp_path)


def test_tokens_in_a_cache_that_are_none(tmp_path, monkeypatch):
  cache = tmp_path / "cache"
  wanted = _rows(tmp_path, ROWS[:5], cache=cache)
  (file,) = cache.iterdir()
  with np.load(file) as arrays:
    members = dict(arrays)
  members["prompts"] = members["prompts"].astype(np.int64)
  members.pop("checksum")
  np.savez(file, checksum=token_cache._checksum(members), **members)
  found = _rows(tmp_path, ROWS[:5], cache=cache)
  assert "is damaged (no tokens)" in found.summary[-1]
  _same(found_with(wanted, found), found)


def test_sequences_are_taken_as_those_of_a_list():
  found = Ragged.of(_arrays([2, 0, 3]))
  assert (
    found[-1].tolist() == found[2].tolist() == _arrays([2, 0, 3])[2].tolist()
  )
  assert found[True].tolist() == []
  for beyond in (3, -4):
    with pytest.raises(IndexError):
      found[beyond]
