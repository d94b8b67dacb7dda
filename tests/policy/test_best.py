"""Which checkpoint is the best, and that it stays."""

import json
import math

import pytest
import runs
from states import state

from offalign.errors import UserError
from offalign.policy import best
from offalign.policy.best import Best
from offalign.policy.checkpoint import Checkpoints, choose

LOSSES = {0: 0.1, 2: 0.5, 4: 0.3, 6: 0.3, 8: 0.4}


def write(folder, name="eval_loss", earned=None):
  lines = [
    json.dumps({"step": step, name: x}) + "\n"
    for step, x in (earned or LOSSES).items()
  ]
  (folder / "metrics.jsonl").write_text("".join([*lines, '{"step": 10, "eva']))


def test_the_best_is_the_first_of_equals_among_the_steps_asked_for(tmp_path):
  write(tmp_path)
  found = Best(tmp_path, "eval_loss")
  assert found.among([2, 4, 6, 8]) == 4
  assert found.among([8, 6]) == 6
  assert found.among([1, 3]) is None
  assert found.among([]) is None
  assert found.is_best(4, [2])
  assert not found.is_best(6, [4])
  found.note(10, {"eval_loss": math.nan})
  found.note(12, {"loss": 0.0})
  assert not found.is_best(10, [])
  assert not found.is_best(12, [])


def test_accuracies_are_better_when_higher(tmp_path):
  write(tmp_path, "eval_rewards/accuracies")
  assert Best(tmp_path, "eval_rewards/accuracies").among([2, 4, 6]) == 2


@pytest.mark.parametrize(
  ("metric", "sentence"),
  [
    (
      "loss",
      "loss is no held-out metric of this run; did you mean 'eval_loss'? "
      "(there is: eval_loss, eval_rewards/margins)",
    ),
    (
      "eval_kl",
      "eval_kl is neither better when lower nor when higher; did you mean ",
    ),
  ],
)
def test_what_cannot_be_best_is_refused(metric, sentence):
  logged = {"eval_loss", "eval_kl", "eval_rewards/margins"}
  best.check("eval_loss", logged)
  with pytest.raises(UserError) as error:
    best.check(metric, logged)
  assert str(error.value).startswith(f"keep_best={sentence}")


def test_nothing_held_out_is_said():
  with pytest.raises(UserError, match="has no held-out rows to judge by"):
    best.check("eval_loss", set())


@pytest.mark.parametrize("keep", [1, 2])
def test_the_best_is_kept_beside_the_newest(keep, tmp_path):
  write(tmp_path)
  found = Best(tmp_path, "eval_loss")
  with Checkpoints(tmp_path, keep, found) as checkpoints:
    for step in (2, 4, 6, 8):
      checkpoints.save(state(step), {})
    assert checkpoints.steps == sorted({4, *[6, 8][-keep:]})
  # The newest are kept where another metric is best.
  with Checkpoints(tmp_path, keep) as checkpoints:
    checkpoints.save(state(10), {})
    assert checkpoints.steps == [10] if keep == 1 else [8, 10]


def test_a_checkpoint_is_named(tmp_path):
  write(tmp_path)
  with Checkpoints(tmp_path, 9) as checkpoints:
    for step in (2, 4, 6):
      checkpoints.save(state(step), {})
  before = runs.contents(tmp_path)
  assert choose(tmp_path, "newest", None) == 6
  assert choose(tmp_path, "best", "eval_loss") == 4
  assert choose(tmp_path, "2", None) == 2
  for which, metric, sentence in (
    ("3", None, r"has no checkpoint '3' \(there is: 2, 4, 6, newest, best\)$"),
    ("-2", None, "has no checkpoint '-2'"),
    ("best", None, r"without keep_best, .*: name a step \(2, 4, 6\)$"),
    ("best", "eval_kl", "no checkpoint of .* was evaluated yet"),
  ):
    with pytest.raises(UserError, match=sentence):
      choose(tmp_path, which, metric)
  assert runs.contents(tmp_path) == before
