"""Presets: what they hold, what replaces them, and their data path."""

import json

import pytest
from absl import flags as absl_flags
from runs import T5

from offalign import data, losses
from offalign.config import Config, presets
from offalign.errors import UserError
from offalign.programs import flags
from offalign.training import inputs
from offalign.training.run import Run

LARGE = "presets/dro_v_t5_large_ultrafeedback"


def parse(*args):
  values = absl_flags.FlagValues()
  flags.define(Config, "cfg", values)
  values(presets.expand(["program", *args]))
  return flags.read(Config, "cfg", values)


def ultrafeedback(path, prompts=12):
  """Rows made here, with the columns of openbmb/UltraFeedback."""
  lines = []
  for i in range(prompts):
    completions = [
      {
        "annotations": {"helpfulness": {"Rating": "3", "Rationale": "-"}},
        "critique": "-",
        "custom_system_prompt": "You are honest.",
        "fine-grained_score": 3.25,
        "model": f"model {k}",
        "overall_score": float(1 + (i + 3 * k) % 10),
        "principle": "honesty",
        "response": f"answer {k} to {i}",
      }
      for k in range(4)
    ]
    row = {
      "source": "sharegpt",
      "instruction": f"What is {i}?",
      "models": [f"model {k}" for k in range(4)],
      "completions": completions,
      "correct_answers": ["None"],
      "incorrect_answers": ["None"],
    }
    lines.append(json.dumps(row) + "\n")
  # As some of the published rows: nothing was answered.
  lines.append(json.dumps({**row, "instruction": "-", "completions": []}))
  path.write_text("".join(lines), encoding="utf-8")
  return str(path)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_a_configuration(name):
  config = parse(f"--cfg={name}", "--cfg.out=runs/x")
  loss = losses.get(config.loss)
  assert name.removeprefix("presets/").startswith(loss.name)
  assert config.model in ("google/flan-t5-large", "google/flan-t5-xl")
  assert config.steps == (20_000 if "xl" in name else 40_000)
  assert config.batch_size == 32
  assert config.optimizer.name == "adafactor"
  assert config.optimizer.learning_rate == 1e-4
  assert config.optimizer.warmup_steps == 150
  assert (config.data.max_prompt, config.data.max_completion) == (512, 256)


def test_flags_replace_a_presets_wherever_they_stand():
  for args in (
    (f"--cfg={LARGE}", "--cfg.batch_size=8"),
    ("--cfg.batch_size=8", "--cfg", LARGE),
  ):
    config = parse(*args)
    assert config.batch_size == 8
    assert config.loss == "dro_v(tau=1.0)"


def test_without_a_preset_nothing_changes():
  argv = ["program", "--cfg.loss=dpo", "--", "--cfg=presets/none"]
  assert presets.expand(argv) == argv


@pytest.mark.parametrize(
  ("args", "said"),
  [
    (
      ["--cfg=presets/dro_v_t5_larg_ultrafeedback"],
      f"no such preset; did you mean '{LARGE}'",
    ),
    (["--cfg=dro_v_t5_large_ultrafeedback"], f"did you mean '{LARGE}'"),
    (["--cfg=x"], "no such preset (presets: presets/dro_v_t5_large_ultra"),
    (["--cfg"], "no such preset"),
    (["--cfg=../config"], "no such preset"),
    ([f"--cfg={LARGE}"] * 2, "names 2 presets"),
  ],
)
def test_mistakes_are_named(args, said, capsys):
  with pytest.raises(UserError) as error:
    presets.expand(["program", *args])
  assert said in str(error.value)
  with pytest.raises(SystemExit) as stop:
    flags.parse(["program", *args], print, presets.expand)
  assert stop.value.code == 2
  assert said in capsys.readouterr().out


def test_the_data_path_gives_triplets(tmp_path):
  path = ultrafeedback(tmp_path / "rows.jsonl")
  config = parse(f"--cfg={LARGE}", f"--cfg.data.path={path}")
  found = inputs.read(
    config.data,
    losses.get(config.loss),
    lambda texts: data.make_tokenizer("byte", texts, None),
    seed=0,
  )
  # 8% of 12 prompts is one; every completion is a row with its reward.
  assert len(found.train) == 44
  assert len(found.held_out) == 4
  assert found.train.rewards.mean() == pytest.approx(0, abs=1e-6)
  assert found.train.rewards.std() == pytest.approx(1, abs=1e-6)
  assert [p.row for p in found.problems] == [12]
  said = " ".join(found.sentences)
  assert "form 'ultrafeedback'" in said
  assert "1 bad row left out" in said


def test_a_preset_is_ready_to_train(tmp_path):
  path = ultrafeedback(tmp_path / "rows.jsonl")
  config = parse(
    f"--cfg={LARGE}",
    f"--cfg.data.path={path}",
    f"--cfg.out={tmp_path / 'run'}",
    f"--cfg.model={T5}",
    "--cfg.tokenizer=byte",
    "--cfg.data.max_prompt=16",
    "--cfg.data.max_completion=16",
    "--cfg.batch_size=8",
  )
  run = Run(config)  # refuses whatever can be refused before the first step
  assert len(run.inputs.train) == 44
  assert str(run.learner.loss) == "dro_v"
