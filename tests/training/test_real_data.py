"""Real feedback, every form of it: read whole, learnt from, and judged."""

import dataclasses
import gzip
import itertools
import json

import jax
import numpy as np
import pyarrow.parquet as parquet
import pytest

from offalign.config import Config
from offalign.config.config import DataConfig
from offalign.data import eval_batches
from offalign.distributed import sharding
from offalign.learner.optim import OptimizerConfig
from offalign.policy.checkpoint import Checkpoints
from offalign.reference import scoring, store
from offalign.training.run import Run

pytestmark = [
  pytest.mark.slow,
  pytest.mark.usefixtures("compiled_once", "one_device"),
]

# Loss -> learning rate, and the file to train on in each folder.
CASES = {
  "sft": (
    1e-3,
    {
      "alpaca_eval": "traj_train.parquet",
      "gsm8k": "sft_train.parquet",
    },
  ),
  "dro_v": (
    3e-4,
    {
      "gsm8k": "traj_train.jsonl.gz",
      "hh_harmless": "pairs_train.parquet",
      "qa_feedback": "krated_train.jsonl.gz",
    },
  ),
  "kto": (
    3e-4,
    {
      "alpaca_eval": "krated_train.parquet",
      "gsm8k": "label_train.jsonl.gz",
      "hh_harmless": "pairs_train.parquet",
    },
  ),
  "dpo": (
    3e-4,
    {
      "alpaca_eval": "pairs_train.parquet",
      "gsm8k": "krated_train.parquet",
      "hh_harmless": "pairs_train.parquet",
      "qa_feedback": "pairs_train.parquet",
    },
  ),
}
COMPLETIONS = 128  # about as many are read of a file; of pairs, as many pairs


def head(path, folder):
  """The first rows of a file, in a file of the same kind, and as dicts."""
  copy = folder / path.name
  if path.name.endswith(".gz"):
    with gzip.open(path, "rt", encoding="utf-8") as file:
      lines = list(itertools.islice(file, COMPLETIONS))
    rows = some([json.loads(line) for line in lines])
    with gzip.open(copy, "wt", encoding="utf-8") as file:
      file.writelines(lines[: len(rows)])
  else:
    table = parquet.read_table(path)
    rows = some(table.slice(0, COMPLETIONS).to_pylist())
    parquet.write_table(table.slice(0, len(rows)), copy)
  return copy, rows


def some(rows):
  """The first of the rows, until they hold `COMPLETIONS`."""
  held = np.cumsum([len(row.get("completions", [0])) for row in rows])
  return rows[: int(np.searchsorted(held, COMPLETIONS)) + 1]


def accounted(loss, rows):
  """How many rows a loss is to get from these, by counting them here."""
  if "chosen" in rows[0]:
    wins = {}
    for row in rows:
      if row["chosen"] == row["rejected"]:
        continue
      for side, won in (("chosen", 1), ("rejected", -1)):
        key = json.dumps([row["prompt"], row[side]])
        wins[key] = wins.get(key, 0) + won
    if loss == "dpo":
      return sum(row["chosen"] != row["rejected"] for row in rows)
    if loss == "kto":
      return sum(balance != 0 for balance in wins.values())
    return len(wins)
  if "completions" not in rows[0]:
    return len(rows)
  if loss != "dpo":
    return sum(len(row["completions"]) for row in rows)
  return sum(
    a != b and y != z
    for row in rows
    for (y, a), (z, b) in itertools.combinations(
      zip(row["completions"], row["rewards"], strict=True), 2
    )
  )


def loss_on(run, rows, params, first):
  """The mean training loss over all rows, at some params."""
  sums = np.zeros(2)
  ref = first if run.learner.needs_reference_weights else None
  for host in eval_batches(rows, run.config.batch_size):
    batch = sharding.put_batch(run.learner.mesh, host)
    _, means = run.learner.evaluate(params, batch, ref)
    sums += np.asarray(means["loss"])
  return sums[0] / sums[1]


@pytest.mark.parametrize(
  ("name", "loss"),
  [(name, loss) for loss, (_, files) in CASES.items() for name in files],
)
def test_it_is_read_whole_and_the_loss_falls(
  name, loss, shared_data, tmp_path, capsys
):
  rate, files = CASES[loss]
  path, rows = head(shared_data / name / files[name], tmp_path)
  data = DataConfig(
    path=str(path), eval_fraction=0.2, max_prompt=32, max_completion=32
  )
  if path.name.startswith("sft"):  # cannot be judged: it has no feedback
    held, _ = head(shared_data / name / "krated_val.parquet", tmp_path)
    data = dataclasses.replace(data, eval_path=str(held), eval_fraction=None)
  run = Run(
    Config(
      loss=loss,
      model="decoder(width=32)",
      tokenizer_vocab=512,
      out=str(tmp_path / "out"),
      steps=40,
      batch_size=16,
      data=data,
      optimizer=OptimizerConfig(learning_rate=rate),
    )
  )
  count = len(run.inputs.train)
  if data.eval_path is None:
    count += len(run.inputs.held_out)
  assert count == accounted(loss, rows)
  assert f"{len(rows)} rows of form " in run.inputs.sentences[0]

  first = run.learner.model.init(jax.random.key(0))
  before = run.learner.init(first)
  held = run.train().metrics
  with Checkpoints(run.folder) as checkpoints:
    after = checkpoints.restore(before)
  about = json.loads((run.folder / "run.json").read_text())
  scored = scoring.attach(
    run.inputs.train,
    np.arange(len(run.inputs.train)),
    store.Store(run.folder / "reference", about["start"]),
    run.learner,
    first,
    batch_size=16,
    title="",
  )
  losses = [loss_on(run, scored, s.params, first) for s in (before, after)]
  assert losses[1] < losses[0]
  assert 0 <= held["eval_rewards/accuracies"] <= 1
  assert "held-out reward accuracy" in capsys.readouterr().out
