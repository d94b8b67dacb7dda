"""A run that is asked to stop keeps what it has, and goes on to the bit."""

import os
import signal

import chex
import pytest
import runs

from offalign.distributed.signals import Stop, Stopped
from offalign.errors import UserError
from offalign.policy.checkpoint import Checkpoints
from offalign.reference import store
from offalign.training.run import Run

STEPS = {"steps": 6, "log_every": 3, "eval_every": 2, "save_every": 6}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_goes_on_from_wherever_it_was_asked_to_stop(
  log, tmp_path, capsys
):
  """In the reference, in evaluations, and between two steps."""
  whole = runs.train(log, tmp_path / "whole", **STEPS)
  cut, said, stops = tmp_path / "cut", set(), 0
  # One batch more or less each time, so that it gets on from anywhere.
  for n in (2, 4, 7, 6, 5, 3, 4, 4, 3, 4, 5, 4, 6):
    try:
      Run(runs.config(log, cut, **STEPS)).train(runs.After(n))
      break
    except Stopped as stopped:
      said.add(str(stopped))
      stops += 1
  else:
    Run(runs.config(log, cut, **STEPS)).train()
  sentences = {
    f"asked to stop: step {step} of 6 is kept in {cut}; the same command goes "
    "on from there"
    for step in range(7)
  }
  assert said <= sentences
  assert len(said) >= 3
  assert stops >= 5
  assert runs.metrics(cut) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(runs.state_of(whole, cut), runs.state_of(whole))
  stores = [
    store.Store(folder / "reference", whole._identity).known
    for folder in (cut, whole.folder)
  ]
  assert stores[0] == stores[1]
  capsys.readouterr()
  Run(runs.config(log, cut, **STEPS)).train()
  assert capsys.readouterr().out.startswith("nothing to do: ")


def test_sigterm_is_noted_and_then_means_what_it_did():
  before = signal.getsignal(signal.SIGTERM)
  with Stop() as stop:
    stop.check()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
      stop.check()
  assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
def test_the_best_is_kept_and_can_be_started_from(log, tmp_path):
  run = runs.train(
    log, tmp_path / "out", **STEPS, keep=1, keep_best="eval_rewards/margins"
  )
  margins = {
    line["step"]: line["eval_rewards/margins"]
    for line in runs.metrics(run.folder)
    if line["step"] and "eval_rewards/margins" in line
  }
  best = max(margins, key=margins.get)
  with Checkpoints(run.folder) as checkpoints:
    assert checkpoints.steps == sorted({best, 6})

  def child(which):
    return runs.config(
      log,
      tmp_path / "child",
      init=str(run.folder),
      init_step=which,
      model=None,
      tokenizer=None,
    )

  assert Run(child("best"))._parent.step == best
  with pytest.raises(UserError, match=r"init_step=1: .* has no checkpoint '1'"):
    Run(child("1"))
