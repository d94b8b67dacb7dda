"""Runs with a loss and a model of the user's: trained, opened, gone on with."""

import json
import subprocess
import sys

import pytest
import runs
import xla_flags
from registries import BAG, HUBER

from offalign import losses, models, user_code
from offalign.errors import UserError
from offalign.losses import registry as loss_registry
from offalign.models import registry as model_registry
from offalign.policy import recorded_code, start
from offalign.policy.folder import read_about
from offalign.policy.policy import Policy
from offalign.programs.generate import generate
from offalign.training.run import Run

OURS = {"eval_every": 2, "save_every": 2, "steps": 2}


@pytest.fixture
def log(modules):
  modules("mine", HUBER.format(name="huber"))
  modules("nets", BAG)
  return runs.write_log("log.jsonl", prompts=8)


@pytest.fixture
def prompts(log):
  return runs.write("prompts.jsonl", [{"prompt": "is 3 a number?"}])


def forget():
  """What another process would know: nothing of the user's."""
  for name in ("mine", "nets"):
    sys.modules.pop(name, None)
  loss_registry._definitions.pop("huber", None)
  model_registry._families.pop("bag", None)


NAMED = {"imports": "mine, nets", "loss": "huber", "model": "bag(width=4)"}
SPELLED = {"loss": "mine:huber(tau=2)", "model": "nets:bag(width=4)"}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
@pytest.mark.parametrize(
  ("given", "asked"),
  [(NAMED, "mine,nets"), (SPELLED, "nets")],
  ids=["imports", "specs"],
)
def test_a_folder_never_has_code_imported(
  given, asked, log, prompts, tmp_path, monkeypatch
):
  out = tmp_path / "run"
  runs.train(log, out, **OURS, **given)
  about = json.loads((out / "run.json").read_text())
  assert about["config"]["loss"] == given["loss"]
  assert about["config"]["imports"] == given.get("imports")
  assert about["model"] == given["model"]
  assert losses.get(about["loss"]).name == "huber"

  forget()
  sentence = (
    f"{out} was trained with the model 'bag' of {asked}, and a run folder has "
    f"no code imported: if you trust it, give imports={asked}"
  )
  child = {"init": str(out), "model": None, "tokenizer": None, "loss": "dpo"}
  openings = (
    lambda: generate(out, prompts, tmp_path / "said.jsonl"),
    lambda: Policy.load(out).export(tmp_path / "exported"),
    lambda: Run(runs.config(log, tmp_path / "child", **child)),
  )
  for opening in openings:
    with pytest.raises(UserError) as error:
      opening()
    assert str(error.value) == sentence
    assert not {"mine", "nets"} & set(sys.modules)

  user_code.load_all(asked)
  assert generate(out, prompts, tmp_path / "said.jsonl", max_new_tokens=2) == 2
  run = runs.train(log, tmp_path / "child", **OURS, **child, imports=asked)
  assert run.learner.model.spec == given["model"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once", "one_device")
def test_a_run_goes_on_with_the_same_modules_alone(log, tmp_path):
  out = tmp_path / "run"
  runs.train(log, out, **OURS, **NAMED)
  forget()
  longer = OURS | {"steps": 4} | NAMED
  with pytest.raises(UserError, match="there is no loss 'huber'"):
    Run(runs.config(log, out, **longer | {"imports": None}))
  user_code.load_all("mine,nets")
  with pytest.raises(UserError, match=r"imports was 'mine, nets', is 'mine'"):
    Run(runs.config(log, out, **longer | {"imports": "mine"}))
  run = runs.train(log, out, **longer)
  assert [line["step"] for line in runs.metrics(out)][-1] == 4
  assert run.learner.loss.name == "huber"


@pytest.mark.parametrize("field", ["model", "frozen", "loss"])
def test_a_hostile_folder_imports_nothing(field, modules, tmp_path):
  modules("evil", "raise SystemExit('it ran')")
  about = {
    "model": "evil:thing" if field == "model" else "decoder",
    "config": {"model": "evil:thing" if field == "frozen" else None},
    "loss": "dpo + 2*evil:thing(x=1)" if field == "loss" else "dpo",
    "vocab_size": 9,
  }
  check = recorded_code.check_loss if field == "loss" else start.model_of
  with pytest.raises(UserError, match=r"of evil, .*give imports=evil"):
    check(tmp_path, about)
  assert "evil" not in sys.modules


def test_what_nothing_registers_is_said(modules, tmp_path):
  about = {"model": "bag", "config": {"imports": None}, "vocab_size": 9}
  with pytest.raises(UserError, match="'bag', which nothing here registers: "):
    start.model_of(tmp_path, about)


def test_what_is_registered_in_this_process_needs_no_module(modules, tmp_path):
  modules("nets", BAG)
  user_code.load("nets")
  about = {
    "model": "bag",
    "config": {"imports": "somewhere_else"},
    "vocab_size": 9,
  }
  assert start.model_of(tmp_path, about).spec == "bag"
  assert models.names() == ["bag", "decoder", "t5"]


@pytest.mark.slow
def test_the_commands_import_what_they_are_told(log, prompts, tmp_path):
  def run(module, *args):
    child = subprocess.run(
      [sys.executable, "-m", f"offalign.{module}", *args],
      env=xla_flags.environment(),
      capture_output=True,
      text=True,
    )
    return child.returncode, child.stderr

  flags = runs.flags(log, "run", **OURS, **NAMED)
  status, said = run("train", *runs.as_args(flags | {"imports": "mime"}))
  assert (status, said.count("\n")) == (2, 1)
  assert "imports=mime: there is no module 'mime'" in said
  assert run("train", *runs.as_args(flags))[0] == 0
  assert read_about(tmp_path / "run")["loss"] == "huber"

  words = ("--run=run", f"--prompts={prompts}", "--max_new_tokens=2")
  status, said = run("generate", *words, "--out=a.jsonl")
  assert (status, said.count("\n")) == (2, 1)
  assert "imports=mine,nets" in said
  assert run("generate", *words, "--out=a.jsonl", "--imports=nets")[0] == 0
  assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 1
  status, said = run("export", "--run=run", "--out=b", "--imports=nets")
  assert (status, "none of Hugging Face's" in said) == (2, True)
