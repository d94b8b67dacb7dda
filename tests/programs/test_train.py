"""A training run from files to files, and the command around it."""

import dataclasses
import importlib.metadata
import json
import math

import pytest
import runs

from offalign.config import Config
from offalign.config.config import flat
from offalign.config.grow import GrowConfig
from offalign.config.ptx import PtxConfig
from offalign.config.select import SelectConfig
from offalign.data import Tokenizer
from offalign.distributed.hosts import HostsConfig
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.learner.value import ValueConfig
from offalign.models.lora import LoraConfig
from offalign.programs import train
from offalign.training.metrics import NonFinite

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once"),
]

TRAINING = {
  "loss",
  "rewards/mean",
  "logps/mean",
  "grad_norm",
  "learning_rate",
  "epoch",
}
JUDGED = {
  "eval_loss",
  "eval_rewards/chosen",
  "eval_rewards/rejected",
  "eval_rewards/margins",
  "eval_rewards/accuracies",
}


@pytest.fixture
def log(tmp_path):
  return runs.write_log(tmp_path / "log.jsonl")


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize(
  "model", [runs.DECODER, runs.T5], ids=["decoder", "t5"]
)
def test_a_run_leaves_what_it_says(model, log, tmp_path, capsys):
  out = tmp_path / "out"
  run = runs.train(log, out, model=model)

  lines = runs.metrics(out)
  evaluated = [line for line in lines if "eval_loss" in line]
  trained = [line for line in lines if "loss" in line]
  assert [line["step"] for line in evaluated] == [0, 2, 4]
  assert [line["step"] for line in trained] == [2, 4]
  assert all(set(line) >= TRAINING for line in trained)
  assert all(set(line) >= JUDGED for line in evaluated)
  assert all(math.isfinite(x) for line in lines for x in line.values())
  assert "tokens_per_second" in (out / "metrics.jsonl").read_text()
  assert trained[-1]["epoch"] == 4 * 8 / 48

  (events,) = (out / "tensorboard").iterdir()
  written = events.read_bytes()
  for name in ("loss", "eval_rewards/accuracies", "tokens_per_second"):
    assert name.encode() in written

  about = json.loads((out / "run.json").read_text())
  assert about["model"] == model
  assert about["config"]["data.path"] == log
  assert about["vocab_size"] == 262
  assert about["reward_scale"]["mean"] == pytest.approx(0.53, abs=0.01)
  assert Tokenizer.load(out / "tokenizer").fingerprint == about["tokenizer"]
  steps = {path.name for path in (out / "checkpoints").iterdir()}
  assert steps == {"2", "4"}

  said = capsys.readouterr().out
  assert "64 rows of form 'traj'" in said
  assert "held out 16 of 64 rows, all rows of 25% of the prompts" in said
  assert (
    "held-out reward accuracy 0.5000 (4 of 8), reward margin 0.0000" in said
  )
  assert "step 4/4  loss " in said
  assert "tok/s" in said
  assert "00:00 left" in said
  assert len(run.inputs.train) == 48


@pytest.mark.usefixtures("one_device")
def test_an_untrained_policy_is_its_reference_to_the_bit(log, tmp_path):
  for loss in ("dro_v", "sft"):
    runs.train(log, tmp_path / loss, loss=loss, steps=2)
    first, *_ = runs.metrics(tmp_path / loss)
    assert first["eval_rewards/margins"] == 0.0
    assert first["eval_rewards/chosen"] == 0.0
    assert first["eval_rewards/accuracies"] == 0.5


@pytest.mark.usefixtures("one_device")
def test_only_the_newest_checkpoints_are_kept(log, tmp_path):
  runs.train(log, tmp_path / "out", loss="sft", steps=8, keep=2)
  steps = {path.name for path in (tmp_path / "out" / "checkpoints").iterdir()}
  assert steps == {"6", "8"}


def test_the_mesh_does_not_change_the_losses(log, tmp_path):
  found = {}
  for fsdp in (1, 2):
    out = tmp_path / str(fsdp)
    run = runs.train(
      log, out, mesh=MeshConfig(fsdp=fsdp), data__eval_fraction=0, log_every=1
    )
    shape = {"data": 8 // fsdp, "fsdp": fsdp, "tensor": 1}
    assert dict(run.learner.mesh.shape) == shape
    found[fsdp] = [line["loss"] for line in runs.metrics(out)]
  assert len(found[1]) == 4
  assert found[2] == pytest.approx(found[1], rel=1e-5)


def test_help_lists_every_flag(tmp_path):
  child = runs.command("--help")
  out, err = child.communicate(timeout=120)
  assert child.returncode == 0
  assert out.startswith("python -m offalign.train: trains a policy")
  assert err == ""
  for flag in ("out", "data.path", "value.per", "optimizer.name", "mesh.fsdp"):
    assert f"--cfg.{flag}: " in out
  assert "--cfg: A preset to start from: presets/dro_v_t5_large" in " ".join(
    out.split()
  )
  assert out.count("\n  --cfg.") + out.count("\n  --[no]cfg.") == len(
    flat(
      Config(
        value=ValueConfig(),
        lora=LoraConfig(),
        ptx=PtxConfig("demos.jsonl"),
        select=SelectConfig(judge="gold"),
        grow=GrowConfig(every=1),
      )
    )
  ) + len(dataclasses.fields(HostsConfig))


def test_the_console_script_is_declared():
  (script,) = (
    entry
    for entry in importlib.metadata.entry_points(group="console_scripts")
    if entry.name == "offalign-train"
  )
  assert script.value == "offalign.programs.train:run"
  assert callable(script.load())


@pytest.mark.parametrize(
  ("error", "status", "sentence"),
  [
    (UserError("mind the gap"), 2, "offalign.train: mind the gap\n"),
    (
      NonFinite("step 3: no number"),
      1,
      "offalign.train: step 3: no number. Checkpoints and metrics up to there "
      "are kept.\n",
    ),
    (
      KeyboardInterrupt(),
      130,
      "offalign.train: interrupted. The same command goes on from the newest "
      "checkpoint.\n",
    ),
  ],
  ids=["user", "non-finite", "interrupt"],
)
def test_what_stops_a_run_is_said_once(
  error, status, sentence, monkeypatch, capsys
):
  class Stopped:
    def __init__(self, config):
      raise error

  monkeypatch.setattr(train, "Run", Stopped)
  monkeypatch.setattr(train.flags_lib, "read", lambda cls: Config())
  assert train.main(["train"]) == status
  assert capsys.readouterr().err == sentence


def test_a_word_without_a_flag_is_refused(capsys):
  assert train.main(["train", "dpo"]) == 2
  said = capsys.readouterr().err
  assert said == "offalign.train: what is 'dpo'? Flags begin with --cfg.\n"
