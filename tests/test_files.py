"""Files: whole or as they were, and a sentence where they cannot be written."""

import errno
import os
import pathlib

import pytest

from offalign.errors import UserError
from offalign.files import Unwritten, unwritten, write_atomically, writing


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
