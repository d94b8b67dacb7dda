"""What a run refuses, in words that a user of its flags can act on."""

import json
import pathlib
import re

import pytest
import runs

from offalign import data, inputs, losses
from offalign.config import DataConfig
from offalign.errors import UserError
from offalign.learner import NonFinite
from offalign.optim import OptimizerConfig
from offalign.run import Run
from offalign.sharding import MeshConfig
from offalign.value import ValueConfig

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


def write(path, rows):
  text = "".join(json.dumps(row) + "\n" for row in rows)
  pathlib.Path(path).write_text(text, encoding="utf-8")
  return path


def rows_of(log):
  lines = pathlib.Path(log).read_text(encoding="utf-8").splitlines()
  return [json.loads(line) for line in lines]


def refused(log, out, **changes):
  """The sentence that a run is refused with; nothing may be written."""
  with pytest.raises(UserError) as error:
    Run(runs.config(log, out, **changes))
  assert not out.exists()
  return str(error.value)


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
    "--cfg.mesh: a mesh of data=-1 x fsdp=3 does not fit 8 device(s): ",
  ),
  ({"mesh": MeshConfig(fsdp=0)}, "--cfg.mesh: a mesh of data=-1 x fsdp=0 "),
  (
    {"optimizer": OptimizerConfig(name="adafactor", weight_decay=0.1)},
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


DATA = [
  (
    "null reward",
    lambda row: {**row, "reward": None},
    "row 5, column 'reward': null\ncorrect them, or leave them out with "
    '--cfg.data.bad_rows="skip"',
  ),
  (
    "text for a reward",
    lambda row: {**row, "reward": "0.5"},
    "row 5, column 'reward': the text '0.5' where a number belongs (write "
    "numbers without quotes)",
  ),
  (
    "a key less",
    lambda row: {"prompt": "x", "reward": 1.0},
    "row 5, column 'completion': missing",
  ),
]


@pytest.mark.parametrize(
  ("change", "sentence"), [d[1:] for d in DATA], ids=[d[0] for d in DATA]
)
def test_bad_rows_are_named(change, sentence, log, tmp_path):
  rows = rows_of(log)
  rows[5] = change(rows[5])
  bad = write(tmp_path / "bad.jsonl", rows)
  said = refused(bad, tmp_path / "out")
  assert said.startswith(
    "--cfg.data.path: 1 of 64 rows cannot be used (rows count from 0):\n"
  )
  assert f"{bad}, {sentence}" in said


def test_a_missing_column_is_named(log, tmp_path):
  rows = [{k: r[k] for k in ("prompt", "reward")} for r in rows_of(log)]
  bad = write(tmp_path / "bad.jsonl", rows)
  said = refused(bad, tmp_path / "out")
  assert f"{bad} has the columns prompt, reward, without 'completion'" in said


@pytest.mark.parametrize(
  ("label", "sentence"),
  [
    (1, "pass --cfg.data.int_labels=True to read 1 as true and 0 as false"),
    ("yes", "column 'label': the text 'yes' where true or false belongs"),
  ],
)
def test_labels_that_are_no_booleans(label, sentence, log, tmp_path):
  rows = [
    {"prompt": r["prompt"], "completion": r["completion"], "label": label}
    for r in rows_of(log)
  ]
  bad = write(tmp_path / "bad.jsonl", rows)
  assert sentence in refused(bad, tmp_path / "out", loss="kto")


def test_data_without_feedback_serves_no_preference_loss(log, tmp_path):
  rows = [{k: r[k] for k in ("prompt", "completion")} for r in rows_of(log)]
  plain = write(tmp_path / "plain.jsonl", rows)
  for loss in ("dro_v", "kto", "dpo"):
    said = refused(plain, tmp_path / "out", loss=loss)
    assert "the data has prompts and completions alone; use data with " in said


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
  with pytest.raises(UserError, match=r"--cfg\.out=.*taken cannot be a folder"):
    run.train()
  assert taken.read_text() == "mine"


def test_skipped_rows_are_listed(log, tmp_path):
  rows = rows_of(log)
  rows[5]["reward"] = None
  bad = write(tmp_path / "bad.jsonl", rows)
  run = Run(runs.config(bad, tmp_path / "out", **{"data.bad_rows": "skip"}))
  (problem,) = run.inputs.problems
  assert (problem.row, problem.column) == (5, "reward")
  assert "data: 1 bad row left out" in run.inputs.sentences


def test_held_out_data_of_another_form_is_judged_as_it_is(log, tmp_path):
  """No threshold, and no rule for pairs, where the labels are given."""
  pairs = [
    {"prompt": f"p{i}", "chosen": "yes", "rejected": "no"} for i in range(8)
  ]
  held = str(write(tmp_path / "held.jsonl", pairs))
  for loss, pairs in (("kto", None), ("dpo", "best_worst")):
    config = DataConfig(path=log, eval_path=held, pairs=pairs)
    found = inputs.read(
      config,
      losses.get(loss),
      lambda texts: data.make_tokenizer("byte"),
      seed=0,
    )
    assert found.held_out is not None
    assert len(found.held_out) == (16 if loss == "kto" else 8)


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_loss_that_is_no_number_stops_the_run(log, tmp_path):
  """At the step that draws the row; what was saved before stays."""
  out, path = tmp_path / "out", tmp_path / "log.jsonl"
  rows = rows_of(log)
  given = {
    "data.normalize_rewards": False,
    "log_every": 1,
    "save_every": 1,
    "steps": 6,
  }
  write(path, rows)
  calm = Run(runs.config(path, out, **given))
  drawn = calm.sampler.indices(2)[0]
  (source,) = calm.inputs.train.sources[drawn]
  rows[int(source.rpartition(":")[2])]["reward"] = 1e38
  write(path, rows)

  run = Run(runs.config(path, out, **given))
  with pytest.raises(
    NonFinite,
    match=rf"^step 3: the loss is not finite on {re.escape(source)}; look at "
    "these rows, or lower the learning rate$",
  ):
    run.train()
  steps = {step.name for step in (out / "checkpoints").iterdir()}
  assert steps == {"1", "2"}
  assert [x["step"] for x in runs.metrics(out) if "loss" in x] == [1, 2]


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
    f"from 0):\n  {bad}, row 5, column 'reward': null\ncorrect them, or leave "
    'them out with --cfg.data.bad_rows="skip"\n'
  )
  assert not (tmp_path / "out").exists()
