"""Files: whole or as they were, and a sentence for those that are not."""

import errno
import os
import pathlib

import pytest

from offalign.errors import UserError
from offalign.files import (
  Unwritten,
  read_object,
  repeated_key,
  unwritten,
  write_atomically,
  writing,
)


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (b"{", r"x\.json is not JSON \(.*\); put it back$"),
    (b"[]", r"x\.json does not hold a JSON object; put it back$"),
    (b"[" * 100_000, r"x\.json is not JSON \(nested too deeply\); put"),
    (b'{"a": ' + b"9" * 5_000 + b"}", r"x\.json is not JSON"),
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' comes twice"),
    (b'{"a": "\xff"}', r"x\.json cannot be read \(.*\); put it back$"),
  ],
)
def test_what_is_no_object_is_refused(tmp_path, content, said):
  path = tmp_path / "x.json"
  path.write_bytes(content)
  with pytest.raises(UserError, match=said):
    read_object(path, "; put it back")


def test_an_object_is_read(tmp_path):
  path = tmp_path / "x.json"
  path.write_text('{"a": [1, null], "b": {"a": 2}}')
  assert read_object(path) == {"a": [1, None], "b": {"a": 2}}
  with pytest.raises(UserError, match="cannot be read"):
    read_object(tmp_path / "none.json")


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
  path = tmp_path / "run.json"
  write_atomically(path, "old")

  def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(Unwritten) as error:
    write_atomically(path, "new")
  assert path.read_text() == "old"
  assert str(error.value) == (
    f"{path} cannot be written (No space left on device): make room on its "
    "disk, then start again"
  )


@pytest.mark.parametrize(
  ("error", "words"),
  [
    (OSError(errno.EDQUOT, ""), "(Disk quota exceeded): make room"),
    (OSError(errno.EROFS, ""), "(Read-only file system): make it writable"),
    (PermissionError(errno.EACCES, ""), "(Permission denied): make it writ"),
    (OSError(errno.EIO, ""), "(Input/output error): mend that"),
    (
      ValueError("RESOURCE_EXHAUSTED: " + "x" * 300 + " No space left on dev"),
      "(No space left on device): make room",
    ),
    (KeyError(), "(KeyError()): mend that"),
  ],
)
def test_the_sentence_says_what_to_do(error, words):
  assert f"a/b cannot be written {words}" in unwritten("a/b", error)


def test_other_mistakes_pass():
  with pytest.raises(UserError, match=r"^mine$"), writing(pathlib.Path("a")):
    raise UserError("mine")


def test_the_key_that_comes_again_is_found_in_one_pass():
  many = [(str(i), i) for i in range(200_000)]
  assert repeated_key(many) is None
  assert repeated_key([*many, ("199999", 0)]) == "199999"
  assert repeated_key([("a", 1), ("b", 2), ("b", 3), ("a", 4)]) == "b"
