"""Logs: whole lines up to the checkpoint, and a pace people can read."""

import json
import time

import pytest

from offalign.policy.folder import read_metrics
from offalign.training import logs as logs_lib
from offalign.training.logs import Logs, describe, mean_of


@pytest.fixture
def clock(monkeypatch):
  """A clock that stands still until it is moved: clock[0], in seconds."""
  now = [100.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  return now


def steps_of(folder):
  return [line["step"] for line in read_metrics(folder)]


def test_a_run_that_goes_on_drops_what_it_will_write_again(tmp_path):
  lines = [json.dumps({"step": step, "loss": step / 3}) for step in (2, 4, 6)]
  path = tmp_path / "metrics.jsonl"
  path.write_text("\n".join(lines) + '\n{"step": 8, "lo')
  Logs(tmp_path, 4, 8).close()
  assert path.read_text() == "".join(line + "\n" for line in lines[:2])


def test_a_run_that_begins_drops_everything(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 0, "eval_loss": 1.0}\n')
  Logs(tmp_path, 0, 8).close()
  assert path.read_text() == ""


def test_lines_are_on_disk_at_once(tmp_path):
  logs = Logs(tmp_path, 0, 8)
  logs.write(2, {"loss": 0.1, "grad_norm": 3.0})
  assert read_metrics(tmp_path) == [{"step": 2, "loss": 0.1, "grad_norm": 3.0}]
  logs.write(4, {"loss": 0.2})
  assert steps_of(tmp_path) == [2, 4]
  logs.close()
  (events,) = (tmp_path / "tensorboard").iterdir()
  assert b"grad_norm" in events.read_bytes()


def test_the_pace_leaves_out_the_first_step(tmp_path, clock, capsys):
  logs = Logs(tmp_path, 10, 20)
  clock[0] += 60  # compilation
  logs.count(300)
  assert logs.rate == 5.0
  for _ in range(2):
    clock[0] += 3
    logs.count(300)
  assert logs.rate == 100.0
  logs.show(13, {"loss": 0.25})
  logs.close()
  said = capsys.readouterr().out
  assert said == "step 13/20  loss 0.2500  100 tok/s  00:21 left\n"


def test_the_bar_shows_loss_pace_and_time_left(tmp_path, monkeypatch, capsys):
  real = logs_lib.tqdm.tqdm

  def shown(*args, **kwargs):
    return real(*args, **{**kwargs, "disable": False, "ncols": 100})

  shown.write = real.write
  monkeypatch.setattr(logs_lib.tqdm, "tqdm", shown)
  logs = Logs(tmp_path, 0, 20)
  for _ in range(5):
    logs.count(300)
  logs.show(5, {"loss": 0.25})
  logs.close()
  said = capsys.readouterr()
  last = said.err.split("\r")[-1]
  assert "5/20 [" in last
  assert "loss 0.2500, " in last
  assert " tok/s" in last
  assert said.out == ""


def test_means_are_over_the_steps_that_have_the_metric():
  lines = [{"a": 1.0, "b": 5.0}, {"a": 3.0}]
  assert mean_of(lines) == {"a": 2.0, "b": 5.0}


def test_held_out_metrics_in_one_line():
  held = {
    "eval_loss": 0.5,
    "eval_rewards/accuracies": 0.75,
    "eval_rewards/margins": -0.125,
    "eval_logps/mean": -3.0,
  }
  assert describe(held) == (
    "held-out loss 0.5000, held-out reward accuracy 0.7500, "
    "reward margin -0.1250"
  )
  assert describe({}) == "nothing held out"
