"""Which options each stage of a pipeline has."""

import shlex

import pipelines
import pytest
from absl import flags as absl_flags

from offalign.config import Config
from offalign.errors import UserError, option
from offalign.programs import flags as flags_lib
from offalign.training.pipelines import stages


def given(stage, *names):
  return {name: stage.options.get(name) for name in names}


def test_the_stages_of_rlhf_follow_one_another():
  sft, reward_model, ppo = pipelines.plan("rlhf")
  assert [str(x.folder) for x in (sft, reward_model, ppo)] == [
    "p/1-sft",
    "p/2-reward_model",
    "p/3-ppo",
  ]
  assert [x.config.loss for x in (sft, reward_model, ppo)] == [
    "sft",
    "bradley_terry",
    "ppo",
  ]
  assert [x.config.init for x in (sft, reward_model, ppo)] == [
    None,
    "p/1-sft",
    "p/1-sft",
  ]
  assert [x.config.model for x in (sft, reward_model, ppo)] == [
    "decoder",
    None,
    None,
  ]
  assert reward_model.config.data.path == "log.jsonl"
  assert ppo.config.data.path == ""
  assert ppo.config.grow.prompts == "log.jsonl"
  assert ppo.config.grow.score == 'reward_model(run="p/2-reward_model")'


def test_what_one_stage_is_given_goes_before_what_all_are():
  sft, reward_model, dpo = pipelines.plan(
    "iterated_dpo",
    shared={"seed": 3, "epochs": None, "grow.samples": 8, "reference": "round"},
    sft={"steps": 9, "data.path": "demos.jsonl"},
    dpo={"init": "runs/other", "grow.prompts": "asked.jsonl"},
  )
  assert [x.config.steps for x in (sft, reward_model, dpo)] == [9, 4, 4]
  assert {x.config.seed for x in (sft, reward_model, dpo)} == {3}
  assert sft.config.grow is reward_model.config.grow is None
  assert (dpo.config.grow.samples, dpo.config.grow.rounds) == (8, 3)
  assert [x.config.reference for x in (sft, dpo)] == ["start", "round"]
  assert dpo.config.init == "runs/other"
  assert dpo.config.grow.prompts == "asked.jsonl"
  assert sft.config.data.path == "demos.jsonl"
  assert reward_model.config.data.path == "log.jsonl"


def test_prompts_are_those_of_the_first_stage():
  made = pipelines.plan(sft={"data.path": "demos.jsonl"})
  assert made[-1].config.grow.prompts == "demos.jsonl"


@pytest.mark.parametrize(
  ("options", "left"),
  [
    ({}, {"steps": 600, "grow.rounds": 3, "grow.every": None}),
    (
      {"grow.every": 5},
      {"steps": 600, "grow.rounds": None, "grow.every": 5},
    ),
    (
      {"grow.every": 5, "grow.rounds": 2},
      {"steps": None, "grow.rounds": 2, "grow.every": 5},
    ),
  ],
)
def test_two_of_steps_rounds_and_every_give_the_third(options, left):
  recipe = pipelines.recipes.get("iterated_dpo")
  shared = {"data.path": "log.jsonl"}
  made = stages.plan(recipe, "p", shared, {"dpo": options})
  assert given(made[-1], *left) == left


@pytest.mark.parametrize("where", ["shared", "own"])
def test_where_something_scores_no_reward_model_is_trained(where):
  score = {"grow.score": "score.py:score"}
  if where == "shared":
    made = pipelines.plan("rest", shared=score)
  else:
    made = pipelines.plan("rest", rest=score)
  assert [x.folder.name for x in made] == ["1-sft", "2-rest"]
  assert made[-1].config.grow.score == "score.py:score"
  with pytest.raises(UserError, match="no reward model is trained, since gr"):
    pipelines.plan("rest", shared=score, reward_model={"steps": 2})


def test_a_command_has_all_options_of_its_stage_and_no_other():
  shared = {"packing": False, "grow.top_p": 0.5, "loss": None}
  del shared["loss"]
  for stage in pipelines.plan(shared=shared):
    program, name, *words = shlex.split(stage.command)
    assert (program, name) == ("offalign", "train")
    values = absl_flags.FlagValues()
    flags_lib.define(Config, values=values)
    values(["train", *words])
    assert flags_lib.read(Config, values=values) == stage.config


@pytest.mark.parametrize(
  ("name", "out", "shared", "own", "said"),
  [
    ("rlhf", "", {}, {}, "out is missing: name the folder of the pipeline"),
    ("rlhf", "p", {"loss": "dpo"}, {}, "loss=dpo is set, and each stage has"),
    ("rlhf", "p", {}, {"dpo": {"steps": 1}}, "dpo.steps is set, and pipeline"),
    ("rest", "p", {}, {"rest": {"out": "x"}}, "rest.out is set, and stages"),
    ("rest", "p", {"hosts.count": 2}, {}, "hosts.count is set, but a pipeline"),
    (
      "rest",
      "p",
      {},
      {"sft": {"hosts": {}}},
      "sft.hosts is set, but a pipeline",
    ),
    ("rest", "p", {"stepz": 2}, {}, "stage sft: a run has no option 'stepz'"),
    (
      "rest",
      "p",
      {"data.path": "log.parquet"},
      {},
      "give rest.grow.prompts",
    ),
    (
      "rest",
      "p",
      {},
      {"rest": {"grow.samples": 0}},
      "stage rest: rest.grow.samples must be at least 1, not 0",
    ),
    (
      "rest",
      "p",
      {"grow.samples": 0},
      {},
      "stage rest: grow.samples must be at least 1, not 0",
    ),
  ],
)
def test_what_no_stage_reads_is_refused(name, out, shared, own, said):
  with pytest.raises(UserError) as error:
    pipelines.plan(name, out, shared, **own)
  assert said in str(error.value)


def test_a_mistake_names_the_option_as_it_was_given():
  stage = pipelines.plan(sft={"steps": 3})[0]
  with pytest.raises(UserError) as error, stage.speaking():
    raise UserError(f"{option('steps')} and {option('data.path')}")
  assert str(error.value) == "stage sft: sft.steps and data.path"


def test_groups_of_options_become_names_with_dots():
  rows = [{"prompt": "a", "completion": "b"}]
  found = stages.flatten({"data": rows, "grow": {"samples": 2}, "seed": 1})
  assert found["data.path"].rows == rows
  assert (found["grow.samples"], found["seed"]) == (2, 1)
  group = Config().optimizer
  assert stages.flatten({"optimizer": group}) == {}


def test_demonstrations_are_of_the_last_stage_and_by_default_those_of_sft():
  sft, reward_model, ppo = pipelines.plan("rlhf", shared={"ptx.coef": 0.5})
  assert sft.config.ptx is reward_model.config.ptx is None
  assert (ppo.config.ptx.path, ppo.config.ptx.coef) == ("log.jsonl", 0.5)
  *_, ppo = pipelines.plan("rlhf", ppo={"ptx.path": "other.jsonl"})
  assert (ppo.config.ptx.path, ppo.config.ptx.coef) == ("other.jsonl", 1.0)
  *_, ppo = pipelines.plan("rlhf")
  assert ppo.config.ptx is None
