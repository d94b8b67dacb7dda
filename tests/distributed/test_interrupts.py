"""Ctrl-C ends a program by one sentence and 130; a Python user's as ever."""

import os
import signal
import subprocess
import sys

import pytest

from offalign.distributed import interrupts

BEGIN = """
import os, signal, sys, time
from offalign.distributed import interrupts
# In the background of a shell it is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
LISTEN = "interrupts.listen('offalign.x', 'the file is kept')\n"


def child(code):
  """A process that runs `code` and has printed a first line."""
  process = subprocess.Popen(
    [sys.executable, "-c", BEGIN + code],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
  )
  assert process.stdout.readline() == "ready\n"
  return process


def ended(process):
  """What it wrote to stdout and stderr until it ended."""
  said = process.stdout.read(), process.stderr.read()
  process.wait(timeout=20)
  return said


READY = "print('ready', flush=True)\n"


def test_a_program_ends_at_once_by_a_sentence_and_flushes_what_it_said():
  process = child(
    LISTEN + "print('half'); os.write(1, b'ready\\n'); time.sleep(60)"
  )
  process.send_signal(signal.SIGINT)
  said, complaint = ended(process)
  assert process.returncode == 130
  assert complaint == "offalign.x: interrupted: the file is kept\n"
  assert said == "half\n"


NOTING = """
noted = []
with interrupts.noting(lambda: noted.append(1)):
  print('ready', flush=True)
  while not noted:
    time.sleep(0.01)
print('kept', flush=True)
interrupts.leave(0)
interrupts.leave(130)
"""


def test_while_there_is_something_to_keep_the_first_is_noted():
  process = child(LISTEN + NOTING)
  process.send_signal(signal.SIGINT)
  said, complaint = ended(process)
  assert (process.returncode, said, complaint) == (130, "kept\n", "")


SLOW = """
interrupts.PATIENCE = 0.0
with interrupts.noting(lambda: None):
  print('ready', flush=True)
  time.sleep(60)
"""


def test_the_second_ends_at_once_and_the_first_is_answered():
  process = child(LISTEN + SLOW)
  process.send_signal(signal.SIGINT)
  first = process.stderr.readline()
  assert "is brought to its end and kept; Ctrl-C again ends at once" in first
  process.send_signal(signal.SIGINT)
  _, second = ended(process)
  assert process.returncode == 130
  assert second == (
    "offalign.x: interrupted again: what was not saved yet is lost, and the "
    "same command goes on from what is\n"
  )


WITHIN = """
with interrupts.noting(lambda: None), interrupts.noting(None):
  print('ready', flush=True)
  time.sleep(60)
"""


def test_where_all_is_saved_the_first_ends_at_once():
  process = child(LISTEN + WITHIN)
  process.send_signal(signal.SIGINT)
  _, complaint = ended(process)
  assert process.returncode == 130
  assert complaint == "offalign.x: interrupted: the file is kept\n"


def test_a_job_in_the_background_goes_on():
  process = child(
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    + LISTEN
    + READY
    + "signal.raise_signal(signal.SIGINT); print(interrupts.listens())"
  )
  said, complaint = ended(process)
  assert (process.returncode, said, complaint) == (0, "False\n", "")


def test_python_users_get_keyboard_interrupt():
  process = child(
    "import offalign\n"
    "try:\n  print('ready', flush=True); time.sleep(60)\n"
    "except KeyboardInterrupt:\n  print('as ever')"
  )
  process.send_signal(signal.SIGINT)
  said, _ = ended(process)
  assert (process.returncode, said) == (0, "as ever\n")
  assert not interrupts.listens()


@pytest.mark.parametrize(
  ("argv", "words", "name"),
  [
    ("-m", ["-m", "offalign.train", "--x"], "train"),
    ("-m", ["-X", "dev", "-m", "offalign.audit", "f"], "audit"),
    ("-m", ["-moffalign.judge"], "judge"),
    ("-m", ["-m", "offalign", "train"], ""),
    ("-m", ["-m", "pytest"], None),
    ("/bin/offalign-generate", ["/bin/offalign-generate"], "generate"),
    ("offalign-train.exe", ["offalign-train.exe"], "train"),
    ("/bin/offalign", ["/bin/offalign"], ""),
    ("my/offalign.py", ["my/offalign.py"], None),
    ("-c", ["-c", "import offalign"], None),
    ("notebook", ["notebook"], None),
  ],
)
def test_programs_are_told_by_how_they_were_started(
  argv, words, name, monkeypatch
):
  monkeypatch.setattr(sys, "argv", [argv])
  monkeypatch.setattr(sys, "orig_argv", ["python", *words])
  monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
  assert interrupts.started_as() == name


@pytest.mark.parametrize("module", ["offalign", "offalign.train", "offalign.x"])
def test_a_module_that_runs_is_told_by_its_name(module, monkeypatch):
  spec = type("Spec", (), {"name": module})
  monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
  assert interrupts.started_as() == module.partition(".")[2]
