"""The command line of pipelines: flags of stages, mistakes, exit statuses."""

import shlex

import pipelines
import pytest
import runs

from offalign.distributed.signals import Stopped
from offalign.programs import pipeline as pipeline_lib
from offalign.training.health import Diverged

GIVEN = ("rlhf", "--cfg.data.path=log.jsonl", "--cfg.out=p")


@pytest.fixture
def fake(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  runs.write("log.jsonl", pipelines.ROWS)
  return pipelines.fake(monkeypatch)


def run(*argv):
  return runs.program(pipeline_lib, *argv)


def test_a_dry_run_prints_the_commands_and_writes_nothing(
  fake, tmp_path, capsys
):
  more = ("--sft.steps", "7", "--ppo.grow.rounds=3", "--dry_run")
  assert run(*GIVEN, "--cfg.seed=2", *more) == 0
  lines = capsys.readouterr().out.splitlines()
  commands = [shlex.split(x) for x in lines if not x.startswith("#")]
  assert [x[:2] for x in commands] == [["offalign", "train"]] * 3
  assert all("--cfg.seed=2" in x for x in commands)
  assert ["--cfg.steps=7" in x for x in commands] == [True, False, False]
  assert "--cfg.grow.rounds=3" in commands[2]
  assert fake.asked == []
  assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize(
  ("arguments", "sentence"),
  [
    ((), "name a pipeline: rlhf, rest, iterated_dpo"),
    (("rlfh",), "there is no pipeline 'rlfh'; did you mean 'rlhf'"),
    ((*GIVEN, "more"), "what is 'more'? Give one pipeline"),
    (("rlhf",), "--cfg.out is missing"),
    ((*GIVEN, "--dpo.steps=3"), "--dpo.steps is set, and pipeline rlhf has no"),
    ((*GIVEN, "--cfg.loss=dpo"), "or give --ppo.loss"),
    ((*GIVEN, "--sft.stepz=3"), "Unknown command line flag 'sft.stepz'"),
    ((*GIVEN, "--sft.batch_size=0"), "stage sft: --sft.batch_size must be"),
    ((*GIVEN, "--cfg.batch_size=0"), "stage sft: --cfg.batch_size must be"),
  ],
)
def test_a_mistake_is_one_sentence(fake, arguments, sentence, tmp_path, capsys):
  assert run(*arguments) == 2
  said = capsys.readouterr().err
  assert said.startswith("offalign.pipeline: ")
  assert sentence in said
  assert said.count("\n") == 1
  assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
  assert fake.asked == []


def test_it_says_what_became_of_each_stage(fake, capsys):
  assert run(*GIVEN) == 0
  said = capsys.readouterr().out
  assert "stage 2 of 3, reward_model: a reward model of the data's" in said
  assert "page: p/pipeline.html" in said
  assert "3-ppo" in said
  assert fake.names() == ["1-sft", "2-reward_model", "3-ppo"]


def test_ctrl_c_ends_with_130_and_sigterm_with_0(fake, capsys):
  fake.errors |= {"1-sft": Stopped("interrupted: step 2", interrupted=True)}
  assert run(*GIVEN) == 130
  assert "interrupted: step 2" in capsys.readouterr().err
  fake.errors |= {"1-sft": Stopped("asked to stop: step 2")}
  assert run(*GIVEN) == 0
  fake.errors |= {"1-sft": Diverged("step 3: the loss is lost")}
  assert run(*GIVEN) == 1
  assert "the loss is lost" in capsys.readouterr().err
