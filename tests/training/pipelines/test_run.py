"""Pipelines are trained stage by stage, and go on where they were stopped."""

import json
import pathlib

import chex
import pipelines
import pytest
import runs

from offalign import Run
from offalign.distributed.signals import Stopped
from offalign.errors import UserError
from offalign.training.health import Diverged
from offalign.training.pipelines import report
from offalign.training.pipelines import run as run_lib


@pytest.fixture
def fake(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  runs.write("log.jsonl", pipelines.ROWS)
  demo = {"prompt": "a", "completion": "b"}
  runs.write("demos.jsonl", [demo])
  return pipelines.fake(monkeypatch)


def train(**changes):
  return run_lib.train("rlhf", pipelines.plan(**changes), "p", verbose=False)


def test_the_same_call_goes_on_with_the_stage_that_was_stopped(fake):
  fake.errors |= {"2-reward_model": Stopped("interrupted: step 2 is kept")}
  with pytest.raises(Stopped, match="step 2 is kept"):
    train()
  assert fake.names() == ["1-sft", "2-reward_model"]
  fake.errors.clear()
  made = train()
  assert fake.names() == ["2-reward_model", "3-ppo"]
  assert made.done == ["1-sft", "2-reward_model", "3-ppo"]
  assert train().done == made.done
  assert fake.names() == []


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (UserError("no rows"), "stage sft: no rows"),
    (Diverged("step 3"), "step 3"),
  ],
)
def test_a_failed_stage_ends_it_is_on_the_page_and_is_tried_again(
  fake, error, said
):
  fake.errors |= {"1-sft": error}
  with pytest.raises(type(error)):
    train()
  assert fake.names() == ["1-sft"]
  for name in (report.PAGE, report.TEXT):
    assert f"failed: {said}" in (pathlib.Path("p") / name).read_text()
  fake.errors.clear()
  assert len(train().done) == 3


def test_a_stage_that_a_later_one_began_with_is_not_trained_further(fake):
  fake.errors |= {"3-ppo": Stopped("step 1 is kept")}
  with pytest.raises(Stopped):
    train()
  with pytest.raises(UserError) as error:
    train(sft={"steps": 9})
  assert str(error.value) == (
    "stage sft: sft.steps=9 was 4, and a later stage began with what came "
    "out: give it as before, or name another out"
  )


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"ppo": {"loss": "pqo"}}, "stage ppo: ppo.loss: "),
    ({"ppo": {"grow.prompts": "no.jsonl"}}, "there is no such file"),
    ({"ppo": {"grow.label": "0.5"}}, "ppo.grow.label is set, but loss 'ppo"),
    ({"reward_model": {"loss": "dpo"}}, "trains a policy, and this stage"),
    ({"reward_model": {"data.path": "no.jsonl"}}, "no file or folder 'no"),
    ({"reward_model": {"data.path": ""}}, "reward_model.data.path is missing"),
    ({"reward_model": {"data.path": "demos.jsonl"}}, "use data with rewards"),
    ({"ppo": {"data.path": ""}}, "ppo.data.path is missing: name the feed"),
    ({"shared": {"grow.score": "no.py:f"}}, "there is no file no.py"),
    ({"shared": {"batch_size": 0}}, "stage sft: batch_size must be at least"),
  ],
)
def test_mistakes_of_the_last_stage_are_found_before_the_first(
  fake, changes, said
):
  with pytest.raises(UserError) as error:
    train(**changes)
  assert said in str(error.value)
  assert fake.asked == []
  assert not pathlib.Path("p").exists()


def test_a_folder_of_something_else_is_refused(fake):
  pathlib.Path("p").mkdir()
  pathlib.Path("p/run.json").write_text("{}")
  with pytest.raises(UserError, match="is a run folder: name another"):
    train()
  assert fake.asked == []


class PowerCut(BaseException):
  """What no code of the run catches."""


def share(prompt, text):
  """A score: the share of ASCII characters."""
  del prompt
  return sum(c.isascii() for c in text) / max(len(text), 1)


OPTIONS = {
  "model": runs.DECODER,
  "tokenizer": "byte",
  "steps": 2,
  "batch_size": 8,
  "eval_samples": 0,
  "data": {"eval_fraction": 0.25},
  "verbose": False,
}


@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_pipeline_killed_in_its_last_stage_ends_with_the_same_bits(tmp_path):
  rows = [{"prompt": f"p{i}", "completion": "yes"} for i in range(12)]
  calls = []

  def score(prompt, text):
    calls.append(prompt)
    if len(calls) == 20:  # in the second round
      raise PowerCut
    return share(prompt, text)

  def options(score):
    grow = {"score": score, "samples": 2, "rounds": 2, "max_new_tokens": 3}
    data = {"path": rows, "eval_fraction": 0.25}
    return OPTIONS | {
      "data": data,
      "dpo": {"grow": grow | {"eval_prompts": 0}, "save_every": 1},
    }

  score.__qualname__ = share.__qualname__  # the same score, after all
  out = tmp_path / "cut"
  with pytest.raises(PowerCut):
    run_lib.run_pipeline("iterated_dpo", out=out, **options(score))
  made = run_lib.run_pipeline("iterated_dpo", out=out, **options(share))
  assert made.done == ["1-sft", "2-dpo"]
  # A stage is a plain run: trained by itself it is the same.
  given = options(share)
  data = {"eval_fraction": 0.25}
  recipe = {"loss": "dpo", "data": data | {"pairs": "best_worst"}}
  grow = given["dpo"]["grow"] | {"prompts": [x["prompt"] for x in rows]}
  alone = {k: given[k] for k in ("steps", "batch_size", "eval_samples")}
  whole = Run(
    **recipe,
    **alone,
    grow=grow,
    init=out / "1-sft",
    out=tmp_path / "whole",
    save_every=1,
  )
  whole.train(verbose=False)
  assert runs.metrics(made.last) == runs.metrics(whole.folder)
  chex.assert_trees_all_equal(
    runs.state_of(whole, made.last), runs.state_of(whole)
  )
  about = json.loads((made.last / "run.json").read_text())
  assert about["config"]["grow.rounds"] == 2
  page = (out / report.PAGE).read_text()
  assert "Stage 2-dpo" in page
  assert "score of samples" in page
  assert "2 of 2 stages done" in (out / report.TEXT).read_text()
