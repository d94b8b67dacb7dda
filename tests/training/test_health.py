"""What is said of a run: each check, on lines with its fault and without."""

import json
import types

import numpy as np
import pytest
import runs

from offalign import losses
from offalign.errors import render
from offalign.learner.optim import OptimizerConfig
from offalign.programs import flags as flags_lib
from offalign.training import health
from offalign.training.health import Diverged, Health
from offalign.training.run import Run

KTO, DPO = losses.get("kto(beta=0.1)"), losses.get("dpo(beta=0.1)")
DRO, SFT = losses.get("dro_v(tau=0.5)"), losses.get("sft")


def held(loss, chosen=None, rejected=None, accuracy=None, step=0, **more):
  """A line of held-out metrics."""
  names = {
    "eval_rewards/chosen": chosen,
    "eval_rewards/rejected": rejected,
    "eval_rewards/accuracies": accuracy,
  }
  given = {k: v for k, v in names.items() if v is not None}
  return {"step": step, "eval_loss": loss, **given, **more}


def test_far_is_thirty_nats_either_way():
  assert health.far({}) is None
  assert health.far({"chosen": 29.0, "rejected": -29.9}) is None
  assert "is 31 nats from" in health.far({"chosen": -1.0, "rejected": -31.0})
  assert "held-out chosen" in health.far({"chosen": 40.0, "rejected": -31.0})
  assert "held-out logged" in health.far({"all": -88.0})


def test_own_samples_are_far_by_completion_or_by_token():
  near = {
    "eval_objective/kl": 29.0,
    "eval_objective/kl_error": 1.5,
    "eval_objective/kl_per_token": 0.9,
    "eval_objective/kl_unfinished": 0.25,
  }
  assert health.far_samples({"eval_loss": 1.0}) is None
  assert health.far_samples(near) is None
  said = health.far_samples(near | {"eval_objective/kl": 31.0})
  assert "is 31.00 ± 1.50 nats (0.900 a token, 25% unfinished) from" in said
  assert health.far_samples(near | {"eval_objective/kl_per_token": 1.1})


def test_both_must_fall():
  assert health.both_falling({"all": -80.0}) is None
  assert health.both_falling({"chosen": 1.0, "rejected": -80.0}) is None
  assert health.both_falling({"chosen": -4.0, "rejected": -80.0}) is None
  said = health.both_falling({"chosen": -77.0, "rejected": -86.0})
  assert "(by 77.0 and 86.0 nats)" in said


def test_a_falling_loss_with_pairs_the_wrong_way_round():
  lines = [held(0.5, accuracy=0.5), held(0.4058, accuracy=0.385, step=100)]
  said = health.misled(lines, 52)
  assert "(0.5 to 0.4058)" in said
  assert "(0.385 (20.02 of 52), which may be chance)" in said
  assert "chance" not in health.misled(lines, 520)
  lines[1]["eval_rewards/accuracies"] = 0.5
  assert health.misled(lines, 52) is None
  lines[1] |= {"eval_rewards/accuracies": 0.2, "eval_loss": 0.499}
  assert health.misled(lines, 52) is None
  assert health.misled(lines[:1], 52) is None


@pytest.mark.parametrize(
  ("values", "warned", "lost"),
  [
    ([0.5], False, False),
    ([0.5, 4.0, 9.9], False, False),
    ([0.5, 11.0], True, False),
    ([0.5, 58_998.0], True, True),
    ([0.5, 58_998.0, 0.4], False, False),
    ([25.0, 171_449_904.0], True, True),
    ([-3.0, -31.0], True, False),
    ([0.0, 0.9], False, False),
  ],
)
def test_a_held_out_loss_that_explodes(values, warned, lost):
  lines = [held(x, step=6 * i) for i, x in enumerate(values)]
  said, beyond = health.exploded(lines)
  assert (said is not None, beyond) == (warned, lost)
  if warned:
    assert f"at step {6 * (len(values) - 1)}, and was {values[0]:.4g}" in said


def test_one_line_of_training_that_explodes_is_not_the_end():
  lines = [{"step": i, "loss": x} for i, x in enumerate([0.5, 5e4, 5e4])]
  assert health.exploded(lines[:2])[1] is False
  assert health.exploded(lines)[1] is True
  lines[2]["loss"] = 0.6
  assert health.exploded(lines) == (None, False)


def test_a_value_that_explains_the_rewards_alone():
  lines = [
    {"step": 1, "loss": 0.5, "rewards/mean": 0.0},
    {"step": 9, "loss": 0.001, "rewards/mean": 0.01},
  ]
  assert "one completion" in health.idle(lines, 0.5, {"all": 0.02})
  assert health.idle(lines, 0.5, {"chosen": 3.0}) is None
  assert health.idle(lines, 0.05, {}) is None
  lines[1]["loss"] = 0.1
  assert health.idle(lines, 0.5, {}) is None
  assert health.idle(lines[:1], 0.5, {}) is None


def rows(rewards=None, labels=None):
  """Training rows of one completion each."""
  count = len(rewards if labels is None else labels)
  return types.SimpleNamespace(
    rewards=None if rewards is None else np.array(rewards, np.float32)[:, None],
    labels=None if labels is None else np.array(labels)[:, None],
    sources=tuple((f"a.jsonl, row {i}",) for i in range(count)),
  )


def test_feedback_that_says_nothing():
  assert health.feedback(rows([0.0, 1.0])) == {}
  assert health.feedback(rows(labels=[True, False])) == {}
  assert list(health.feedback(rows([2.0, 2.0]))) == ["equal_rewards"]
  every = health.feedback(rows(labels=[False, False]))["one_class"]
  assert every.startswith("every label is false")


def test_an_outlying_reward_is_named():
  assert health.outlying(rows(labels=[True])) is None
  assert health.outlying(rows([0, 1, 2, 3, 4, 5])) is None
  said = health.outlying(rows([0, 1, 2, 3, 1e30, 5]))
  assert said.startswith("1 reward (a.jsonl, row 4: 1e+30) more than 1,000")
  gaps = rows([0, 1, 2, 3])
  gaps.margins = np.array([1, 2, 1e30, 3], np.float32)
  assert health.outlying(gaps) is None
  said = health.outlying(gaps, "margin")
  assert said.startswith("1 margin (a.jsonl, row 2: 1e+30) more than 1,000")
  many = health.outlying(rows([*np.linspace(0, 1, 1000), *[1e9] * 7]))
  assert "7 rewards" in many
  assert "and 2 more" in many


def watch(folder, loss=DPO, stops=True, lines=()):
  said = []
  found = Health(
    folder,
    lines,
    loss,
    {"train": rows([0.0, 1.0]), "judged": range(12)},
    said.append,
    stops=stops,
  )
  return found, said


def test_each_thing_is_said_once_and_kept(tmp_path):
  watched, said = watch(tmp_path)
  watched.begin(0)
  for step, chosen in ((0, 0.0), (6, -0.6), (12, -4.0), (18, -5.0)):
    watched.see(step, held(0.6, chosen, chosen - 0.1))
  kinds = [(each.step, each.kind) for each in watched.warned]
  assert kinds == [(6, "both_falling"), (12, "far")]
  assert [line[:9] for line in said] == ["warning: "] * 2
  assert health.read(tmp_path) == watched.warned
  # A run that goes on after step 6 has said the first already.
  again, said = watch(tmp_path, lines=[held(0.6, step=0), held(0.6, step=6)])
  again.see(12, held(0.6, -4.0, -4.1))
  assert [each.kind for each in again.warned] == ["both_falling", "far"]
  assert len(said) == 1


def test_a_lost_run_is_stopped_unless_it_is_to_go_on(tmp_path):
  watched, _ = watch(tmp_path)
  watched.see(0, held(0.5))
  with pytest.raises(Diverged) as error:
    watched.see(6, held(58_998.0))
  said = render(error.value.args[0], flags_lib.of_config)
  assert said == (
    "step 6: the held-out loss is 58,998 at step 6, and was 0.5 at step 0: "
    "the run diverges. Lower --cfg.optimizer.learning_rate, or warm it up for "
    "longer; the last step of a sound held-out loss was 0 "
    "(--cfg.on_divergence=warn goes on all the same)"
  )
  watched, said = watch(tmp_path, stops=False)
  watched.see(0, held(0.5))
  watched.see(6, held(58_998.0))
  assert "the run diverges" in said[0]


def test_a_long_run_is_watched_by_its_first_and_last_lines():
  watched, _ = watch(None)
  for step in range(1000):
    watched.see(step, held(0.5))
  assert len(watched._lines) == 200
  with pytest.raises(Diverged, match=r"was 0\.5 at step 0"):
    watched.see(1000, held(1e6))


def test_a_file_that_cannot_be_read_is_written_again(tmp_path):
  (tmp_path / health.FILE).write_text('{"warnings": [{}]}')
  assert health.read(tmp_path) == []
  watched, _ = watch(tmp_path)
  watched.see(0, held(0.5, -9.0, -9.0))
  kinds = [
    x["kind"]
    for x in json.loads((tmp_path / health.FILE).read_text())["warnings"]
  ]
  assert kinds == ["far", "both_falling"]


def test_accuracies_say_of_how_many():
  assert health.of_pairs(10 / 12, 12) == " (10 of 12)"
  assert health.of_pairs(0.5, 25) == " (12.5 of 25)"
  assert health.of_pairs(0.5, None) == ""


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_that_diverges_keeps_what_was_sound(tmp_path, capsys):
  log = runs.write_log(tmp_path / "log.jsonl")
  rate = {"optimizer": OptimizerConfig(learning_rate=3.0, warmup_steps=0)}
  given = {"steps": 8, "log_every": 1, "eval_every": 4, "save_every": 1}
  run = Run(runs.config(log, tmp_path / "out", **given, **rate))
  with pytest.raises(Diverged, match="the run diverges"):
    run.train()
  said = capsys.readouterr().out
  assert "nats from the reference: chosen +0.00, rejected +0.00" in said
  assert "(4 of 8)" in said
  assert (tmp_path / "out" / "checkpoints" / "1").is_dir()
  assert any("diverges" in sentence for sentence in run.health)
  going = runs.config(
    log, tmp_path / "out", **given, **rate, on_divergence="warn"
  )
  Run(going).train()
  assert runs.metrics(tmp_path / "out")[-1]["step"] == 8
