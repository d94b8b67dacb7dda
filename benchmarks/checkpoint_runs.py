"""From a checkpoint to an aligned one, on real feedback, and back.

  python -m benchmarks.checkpoint_runs --data=DIR --out=FOLDER

For a tiny Flan-T5 and a tiny Qwen 3, and for each data set: supervised
fine-tuning, DRO-V from there on scored completions, export; then
`transformers` reads the folder and scores held-out rows beside the run's own
checkpoint. DIR holds the data sets in the project's columns. Needs the extra
`parity`.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import parity_torch, tiny_checkpoints
from offalign import data
from offalign.config import Config
from offalign.config.config import DataConfig
from offalign.learner.optim import OptimizerConfig
from offalign.policy import start
from offalign.policy.folder import read_metrics
from offalign.policy.policy import Policy
from offalign.training.run import Run

DATA = {
  "qa_feedback": ("qa_feedback/krated_train.jsonl.gz",) * 2,
  "gsm8k": ("gsm8k/sft_train.parquet", "gsm8k/krated_train.parquet"),
}
"""Name -> what the supervised run reads, and what DRO-V reads."""

ROWS = 48  # held-out completions that both score


class Outcome(NamedTuple):
  """What the runs of one checkpoint on one data set gave.

  Attributes:
    sft: supervised loss on held-out rows, before and after; nats a token.
    dro_v: DRO-V's loss on held-out rows, before and after.
    accuracy: DRO-V's held-out reward accuracy, after.
    logps: mean log-prob of the completions compared; nats.
    error: largest difference between the two log-probs of a completion, as a
      share of it.
    moved: largest difference to its log-prob before DRO-V; nats.
  """

  sft: tuple[float, float]
  dro_v: tuple[float, float]
  accuracy: float
  logps: float
  error: float
  moved: float


def run(shape: str, name: str, folder: Path, args: Any) -> Outcome:
  """Makes the checkpoint, trains, exports, and compares.

  Args:
    shape: of `tiny_checkpoints.SHAPES`.
    name: of `DATA`.
    folder: a new one, for all of it.
    args: the flags.
  """
  supervised, scored = (args.data / file for file in DATA[name])
  origin = folder / "origin"
  origin.mkdir(parents=True)
  texts = _texts({supervised, scored})
  tiny_checkpoints.SHAPES[shape](origin, texts)
  Run(
    Config(
      loss="sft",
      model=str(origin),
      out=str(folder / "sft"),
      steps=args.sft_steps,
      batch_size=args.batch,
      data=_data(supervised),
      optimizer=OptimizerConfig(learning_rate=3e-3),
    )
  ).train()
  dro_v = Run(
    Config(
      loss="dro_v(tau=0.1)",
      init=str(folder / "sft"),
      out=str(folder / "dro_v"),
      steps=args.steps,
      batch_size=args.batch,
      data=_data(scored),
      optimizer=OptimizerConfig(learning_rate=1e-5, value_learning_rate=3e-4),
    )
  )
  dro_v.train()
  Policy.load(folder / "dro_v").export(folder / "aligned")
  return Outcome(
    _ends(folder / "sft", "eval_loss"),
    _ends(folder / "dro_v", "eval_loss"),
    _ends(folder / "dro_v", "eval_rewards/accuracies")[1],
    *_compare(dro_v, folder),
  )


def _data(path: Path) -> DataConfig:
  return DataConfig(
    path=str(path), max_prompt=192, max_completion=96, eval_rows=256
  )


def _texts(files: set[Path]) -> Iterator[str]:
  for file in sorted(files):
    for record in data.load(str(file)).records:
      yield str(record.prompt)
      yield from map(str, record.completions)


def _ends(folder: Path, metric: str) -> tuple[float, float]:
  found = [line[metric] for line in read_metrics(folder) if metric in line]
  return found[0], found[-1]


def _compare(trained: Run, folder: Path) -> tuple[float, float, float]:
  """Scores held-out completions by the checkpoint and by `transformers`."""
  import torch
  import transformers

  held = trained.inputs.held_out
  assert held is not None
  rows = data.batch(held.unique(), np.arange(ROWS))
  model = trained.learner.model
  ours, before = (
    np.asarray(trained.learner.score(params, rows))
    for params in (
      start.restore(folder / run, model, trained.learner.mesh)
      for run in ("dro_v", "sft")
    )
  )
  family: Any = transformers.AutoModelForCausalLM
  if transformers.AutoConfig.from_pretrained(
    folder / "aligned"
  ).is_encoder_decoder:
    family = transformers.AutoModelForSeq2SeqLM
  with torch.no_grad():
    theirs = parity_torch.logps(
      family.from_pretrained(folder / "aligned").eval(), rows
    ).numpy()
  return (
    float(ours.mean()),
    float((np.abs(ours - theirs) / np.abs(theirs)).max()),
    float(np.abs(ours - before).max()),
  )


def main() -> None:
  """Runs every checkpoint on every data set; prints a table in Markdown."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--data", type=Path, required=True)
  parser.add_argument("--out", type=Path, required=True, help="a new folder")
  parser.add_argument("--sft_steps", type=int, default=300)
  parser.add_argument("--steps", type=int, default=300)
  parser.add_argument("--batch", type=int, default=16)
  args = parser.parse_args()
  print("\n".join(_HEAD))
  for shape in tiny_checkpoints.SHAPES:
    for name in DATA:
      with contextlib.redirect_stdout(sys.stderr):
        found = run(shape, name, args.out / f"{shape}-{name}", args)
      print(
        f"| {shape} | {name} | {_change(found.sft)} | {_change(found.dro_v)} "
        f"| {found.accuracy:.3f} | {found.logps:.1f} | {found.moved:.2f} "
        f"| {found.error:.1e} |",
        flush=True,
      )


_HEAD = (
  "| checkpoint | data | held-out SFT loss | held-out DRO-V loss "
  "| reward accuracy | mean log-prob | moved by DRO-V | relative error |",
  "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def _change(pair: tuple[float, float]) -> str:
  return f"{pair[0]:.3f} to {pair[1]:.3f}"


if __name__ == "__main__":
  main()
