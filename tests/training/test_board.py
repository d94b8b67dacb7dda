"""TensorBoard's files: every scalar, and a word where the disk is full."""

import errno
import subprocess
import sys

import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from offalign.files import Unwritten
from offalign.training.board import Board


def events(path):
  """The events of a file, whose records have 12 bytes before and 4 after."""
  data, found = path.read_bytes(), []
  while data:
    n = int.from_bytes(data[:8], "little")
    found.append(Event.FromString(data[12 : 12 + n]))
    data = data[16 + n :]
  return found


def test_scalars_come_back(tmp_path):
  board = Board(tmp_path / "board", purge_step=5)
  board.write(6, {"loss": 0.25, "eval_rewards/margins": -1.5})
  board.close()
  (path,) = (tmp_path / "board").iterdir()
  version, start, restart, *rest = events(path)
  assert version.file_version == start.file_version == "brain.Event:2"
  assert restart.step == 5
  assert restart.session_log.status == 1  # START
  assert [
    (event.step, value.tag, value.simple_value)
    for event in rest
    for value in event.summary.value
  ] == [(6, "loss", 0.25), (6, "eval_rewards/margins", -1.5)]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
  board = Board(tmp_path, purge_step=1)

  def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(EventsWriter, "write_event", full)
  with pytest.raises(Unwritten, match="room on its disk, then start again"):
    board.write(1, {"loss": 1.0})


def test_it_brings_no_torch():
  code = (
    "import sys, offalign.training.board as b; print('torch' in sys.modules)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout == "False\n"
