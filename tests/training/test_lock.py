"""Two runs cannot train in one folder at a time."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest
import runs

from offalign.errors import UserError
from offalign.training import lock
from offalign.training.run import Run


def test_the_second_is_refused_until_the_first_has_ended(tmp_path):
  with lock.locked(tmp_path):
    with pytest.raises(UserError) as error, lock.locked(tmp_path):
      pass
    said = json.loads((tmp_path / lock.FILE).read_text())
  assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
  assert str(error.value) == (
    f"{tmp_path} is in use: process {os.getpid()} on {said['host']}, since "
    f"{said['since']}, trains in it. Wait for its end, or stop it, or name "
    "another out"
  )
  with lock.locked(tmp_path):
    pass


def test_a_run_that_was_killed_locks_nobody_out(tmp_path):
  code = (
    "import os, pathlib, sys; from offalign.training import lock; "
    "lock.locked(pathlib.Path(sys.argv[1])).__enter__(); os._exit(9)"
  )
  done = subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
  assert done.returncode == 9
  assert (tmp_path / lock.FILE).exists()
  lock.check(tmp_path)
  with lock.locked(tmp_path):
    pass


def test_a_file_that_says_nothing_is_no_hindrance(tmp_path):
  (tmp_path / lock.FILE).write_text("\0{")
  with lock.locked(tmp_path):
    (tmp_path / lock.FILE).write_text("[1]")
    with pytest.raises(UserError, match="in use: another process, trains"):
      lock.check(tmp_path)


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
  def flock(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, "flock", flock)
  with lock.locked(tmp_path):
    lock.check(tmp_path)
  assert capsys.readouterr().out == (
    f"warning: {tmp_path} is on a file system without locks (No locks "
    "available), so a second run in it would not be refused: start none\n"
  )


def test_to_look_makes_no_file(tmp_path):
  lock.check(tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_is_refused_before_it_reads_and_before_it_trains(tmp_path):
  log = runs.write_log(tmp_path / "log.jsonl")
  out = tmp_path / "out"
  made = Run(runs.config(log, out, steps=2))
  out.mkdir()
  with lock.locked(out):
    with pytest.raises(UserError, match="is in use"):
      made.train()
    with pytest.raises(UserError, match="is in use"):
      Run(runs.config(tmp_path / "absent.jsonl", out))
  made.train()
  assert runs.metrics(out)[-1]["step"] == 2
