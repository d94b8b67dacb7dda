"""Data that a run refuses, and data that stops it; rows are named."""

import re
import tracemalloc

import numpy as np
import pytest
import runs
from runs import refused, rows_of, write

from offalign import data, losses
from offalign.config.config import DataConfig
from offalign.data.text.spool import Spool
from offalign.training import inputs
from offalign.training.metrics import NonFinite
from offalign.training.run import Run

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
  return runs.write_log(tmp_path_factory.mktemp("log") / "log.jsonl")


DATA = [
  (
    "null reward",
    lambda row: {**row, "reward": None},
    "row 5, column 'reward': null; if it means \"not rated\", leave such rows "
    "out with --cfg.data.columns='reward=reward'\ncorrect them, or leave them "
    'out with --cfg.data.bad_rows="skip"',
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


@pytest.mark.parametrize("held_completions", [2, 3])
def test_held_out_groups_are_as_large_as_the_trained_ones(
  held_completions, tmp_path
):
  """Where no held-out prompt has as many, the run goes on and says so."""

  def rows(count):
    return [
      {"prompt": f"p{i}", "completion": f"{i} {k}", "reward": k}
      for i in range(9)
      for k in range(count(f"p{i}"))
    ]

  whole = data.load(write(tmp_path / "whole.jsonl", rows(lambda _: 3))).records
  held = {r.prompt for r in data.split_by_prompt(whole, 0.3, seed=0)[1]}
  few = rows(lambda prompt: held_completions if prompt in held else 3)
  found = inputs.read(
    DataConfig(path=str(write(tmp_path / "log.jsonl", few)), eval_fraction=0.3),
    losses.get("rloo"),
    lambda texts: data.make_tokenizer("byte"),
    seed=0,
  )
  assert found.train.completion_index.shape[1] == 3
  if held_completions == 3:
    assert len(found.held_out) == len(held)
  else:
    assert found.held_out is None
    assert "held out: not evaluated on, since no row is" in "\n".join(
      found.sentences
    )


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


@pytest.mark.parametrize("loss", ["bradley_terry(margin=1.0)", "rebel", "dpo"])
def test_margins_that_a_loss_reads_are_not_called_unread(loss, tmp_path):
  rows = [
    {"prompt": f"q {i}", "chosen": "yes", "rejected": "no", "margin": i + 1}
    for i in range(20)
  ]
  path = write(tmp_path / "pairs.jsonl", rows)
  found = inputs.read(
    DataConfig(path=str(path)),
    losses.get(loss),
    lambda texts: data.make_tokenizer("byte", texts),
    seed=0,
  )
  said = found.sentences
  unread = [each for each in said if "are not read by this loss" in each]
  assert len(unread) == (2 if loss == "dpo" else 0)  # training, held out


FORMS = {
  "traj": ("dro_v", lambda text: {"completion": f"{text}{'y' * 215}"}),
  "pairs": (
    "dpo",
    lambda text: {
      "chosen": f"{text}{'y' * 105}",
      "rejected": f"{text}{'z' * 105}",
    },
  ),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_row_takes_in_memory(form, tmp_path, monkeypatch):
  """Bytes a row, counted: tokens are on disk, and each text is held once.

  A row has some 330 characters and as many tokens, which would be 1,300 bytes
  more in memory each time that they are copied.
  """
  monkeypatch.setattr(Spool.__init__, "__defaults__", (0,))
  monkeypatch.chdir(tmp_path)
  loss, rest = FORMS[form]
  tokenizer = data.make_tokenizer("byte")

  def taken(n):
    rows = []
    for i in range(n):
      row = {"prompt": f"{i:06d} {'x' * 100}", **rest(f"{i:06d} ")}
      rows.append(row | ({"reward": i / 7} if form == "traj" else {}))
    write(tmp_path / "rows.jsonl", rows)
    del rows
    tracemalloc.start()
    try:
      found = inputs.read(
        DataConfig(path="rows.jsonl"),
        losses.get(loss),
        lambda texts: tokenizer,
        seed=0,
        folder=tmp_path,
      )
      assert found.train.completions.mapped is not None
      return np.array(tracemalloc.get_traced_memory())
    finally:
      tracemalloc.stop()

  taken(100)  # what is made once
  kept, most = (taken(6000) - taken(2000)) / 4000
  assert kept < 800
  assert most < 1900
