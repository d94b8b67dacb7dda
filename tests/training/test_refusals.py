"""What a run refuses, in words that a user of its flags can act on."""

import re

import pytest
import runs
from runs import refused, rows_of, write

from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


FLAGS = [
  (
    {"loss": "dpoo"},
    "--cfg.loss: there is no loss 'dpoo'; did you mean 'dpo'? (registered: ",
  ),
  (
    {"loss": "kto(betta=1)"},
    "--cfg.loss: loss 'kto' has no option 'betta'; did you mean 'beta'? ",
  ),
  (
    {"model": "decoder(widht=16)"},
    "--cfg.model: model 'decoder' has no option 'widht'; did you mean 'width'?",
  ),
  (
    {"model": "decoder(positions=learned, max_positions=4, width=16)"},
    "--cfg.model: prompt and completion take ",
  ),
  (
    {"data.path": ""},
    "--cfg.data.path is missing: name the feedback to train on",
  ),
  ({"data.path": "nosuch.jsonl"}, "--cfg.data.path: there is no file or fol"),
  (
    {"data.path": "nobody/nothing"},
    "--cfg.data.path: nothing local is called 'nobody/nothing', and as a data "
    "set of the Hugging Face hub it could not be loaded: ",
  ),
  (
    {"data.eval_path": "nosuch.jsonl", "data.eval_fraction": None},
    "--cfg.data.eval_path: there is no file or folder 'nosuch.jsonl'; ",
  ),
  (
    {"data.eval_fraction": 0.01},
    "--cfg.data.eval_fraction: a held-out fraction of 0.01 of 16 prompts "
    "leaves one side empty; ",
  ),
  (
    {"data.eval_path": "x.jsonl"},
    "--cfg.data.eval_fraction is set beside --cfg.data.eval_path; give one",
  ),
  ({"data.eval_rows": 0}, "--cfg.data.eval_rows must be at least 1, not 0; "),
  (
    {"data.max_prompt": 1},
    "--cfg.data.max_prompt must be at least 2 with this tokenizer, not 1",
  ),
  (
    {"data.max_completion": 0},
    "--cfg.data.max_completion must be at least 1, not 0",
  ),
  (
    {"data.int_labels": True},
    "--cfg.data.path: --cfg.data.int_labels is set, but ",
  ),
  (
    {"tokenizer_vocab": 300},
    "--cfg.tokenizer: --cfg.tokenizer_vocab is set, but only tokenizer 'bpe' "
    "is trained, not 'byte'; leave it out",
  ),
  (
    {"tokenizer": "bpe", "tokenizer_vocab": 9},
    "--cfg.tokenizer: --cfg.tokenizer_vocab must be at least 262 ",
  ),
  ({"tokenizer": "nosuch"}, "--cfg.tokenizer: there is no tokenizer 'nosuch':"),
  ({"seed": -1}, "--cfg.seed must be 0 or more, not -1"),
  ({"microbatches": 0}, "--cfg.microbatches must be at least 1, not 0"),
  (
    {"init": "nosuch", "model": None, "tokenizer": None},
    "--cfg.init=nosuch is not a run folder: it has no run.json; ",
  ),
  (
    {"batch_size": 12},
    "--cfg.batch_size=12: a batch of 12 prompts cannot be split over 8 "
    "device(s) and 1 microbatch(es): make it a multiple of 8",
  ),
  (
    {"batch_size": 64},
    "--cfg.batch_size=64: a batch of 64 cannot be taken from 48 rows; ",
  ),
  (
    {"mesh": MeshConfig(fsdp=3)},
    "--cfg.mesh: a mesh of data=-1 x fsdp=3 x tensor=1 does not fit 8 device(s",
  ),
  ({"mesh": MeshConfig(fsdp=0)}, "--cfg.mesh: a mesh of data=-1 x fsdp=0 "),
  (
    {"optimizer": OptimizerConfig(name="adafactor")},
    "--cfg.optimizer.warmup_steps is 150 with adafactor where it is not given, "
    "no fewer than --cfg.steps=4, so the learning rate would rise all through "
    "the run: give --cfg.optimizer.warmup_steps",
  ),
  (
    {"profile": 3},
    "--cfg.profile=3 cannot be traced: it is of the 2 steps after the first 2, "
    "which compile, of --cfg.steps=4",
  ),
  (
    {"keep_best": "loss"},
    "--cfg.keep_best=loss is no held-out metric of this run; did you mean "
    "'eval_loss'? (there is: eval_loss, eval_rewards/accuracies, eval_rewards/"
    "margins)",
  ),
  (
    {"keep_best": "eval_loss", "data.eval_fraction": 0},
    "--cfg.keep_best=eval_loss is set, but the run has no held-out rows ",
  ),
  ({"init_step": "best"}, "--cfg.init_step=best is set without --cfg.init; "),
  (
    {
      "optimizer": OptimizerConfig(
        name="adafactor", warmup_steps=2, weight_decay=0.1
      )
    },
    "--cfg.optimizer.weight_decay has no effect with adafactor; ",
  ),
  (
    {"optimizer": OptimizerConfig(learning_rate=-0.1)},
    "--cfg.optimizer.learning_rate must be >= 0, not -0.1",
  ),
]


@pytest.mark.parametrize(
  ("changes", "sentence"), FLAGS, ids=[" ".join(c) for c, _ in FLAGS]
)
def test_flags_that_cannot_be_followed(changes, sentence, log, tmp_path):
  assert refused(log, tmp_path / "out", **changes).startswith(sentence)


UNUSED = [
  ("dpo", {"data.label_rule": "prompt_mean"}, "--cfg.data.label_rule is set"),
  ("dpo", {"data.group_size": 2}, "--cfg.data.group_size is set"),
  ("kto", {"data.pairs": "all"}, "--cfg.data.pairs is set"),
  (
    "dpo",
    {"data.normalize_rewards": True},
    "--cfg.data.normalize_rewards is set",
  ),
  ("dpo", {"value": ValueConfig()}, "--cfg.value.* flags are set"),
  (
    "dpo",
    {"optimizer": OptimizerConfig(value_learning_rate=0.1)},
    "--cfg.optimizer.value_learning_rate is set",
  ),
]


@pytest.mark.parametrize(("loss", "changes", "sentence"), UNUSED)
def test_options_that_nothing_would_read(
  loss, changes, sentence, log, tmp_path
):
  said = refused(log, tmp_path / "out", loss=loss, **changes)
  assert said.startswith(sentence)
  assert "leave" in said


def test_a_failed_start_leaves_no_tokenizer_to_go_on_with(log, tmp_path):
  out = tmp_path / "out"
  refused(log, out, tokenizer="bpe", tokenizer_vocab=300, batch_size=64)
  run = Run(runs.config(log, out, tokenizer="byte"))
  assert run.inputs.tokenizer.vocab_size == 262


@pytest.mark.usefixtures("one_device")
def test_one_prompt_is_too_few_for_kto(log, tmp_path):
  said = refused(log, tmp_path / "out", loss="kto", batch_size=1)
  assert re.match(r"--cfg\.batch_size=1: loss 'kto' .* of 2 or more", said)


@pytest.mark.usefixtures("one_device")
def test_a_file_is_no_run_folder(log, tmp_path):
  taken = tmp_path / "taken"
  taken.write_text("mine")
  run = Run(runs.config(log, taken))
  with pytest.raises(UserError, match=r"^out=.*taken cannot be a folder"):
    run.train()
  assert taken.read_text() == "mine"


@pytest.mark.slow
def test_the_command_says_one_sentence_and_keeps_what_is_there(log, tmp_path):
  def complaint(*args):
    child = runs.command(*args)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 2, err
    assert out == ""
    return err

  given = runs.flags(log, str(tmp_path / "out"))
  assert complaint("--cfg.optimizer.clip_norm=-1") == (
    "offalign.train: --cfg.optimizer.clip_norm must be 0 or above, not -1.0\n"
  )
  assert complaint("--cfg.los=dpo") == (
    "offalign.train: Unknown command line flag 'cfg.los'. Did you mean: "
    "cfg.loss? --help lists the flags.\n"
  )
  kto = {**given, "loss": "kto", "batch_size": 1}
  assert complaint(*runs.as_args(kto)) == (
    "offalign.train: --cfg.batch_size=1: loss 'kto' estimates a KL term from "
    "mismatched prompts and completions, which a batch of 1 cannot supply; "
    "use a batch size of 2 or more\n"
  )
  rows = rows_of(log)
  rows[5]["reward"] = None
  bad = str(write(tmp_path / "bad.jsonl", rows))
  assert complaint(*runs.as_args({**given, "data.path": bad})) == (
    "offalign.train: --cfg.data.path: 1 of 64 rows cannot be used (rows count "
    f"from 0):\n  {bad}, row 5, column 'reward': null; if it means \"not "
    "rated\", leave such rows out with --cfg.data.columns='reward=reward'\n"
    'correct them, or leave them out with --cfg.data.bad_rows="skip"\n'
  )
  assert not (tmp_path / "out").exists()
