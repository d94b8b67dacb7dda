"""Measures how long the devices wait for the host between training steps.

  python -m benchmarks.host_gap

Trains at the sizes of the throughput suite as `offalign.train` does, traces
some steps, and prints as Markdown the share of the traced time in which no
compiled program ran. The goal is at most 5%.
"""

import argparse
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import tokenizers

from benchmarks import trace
from benchmarks.throughput.cases import CASES, MODELS, Case
from benchmarks.throughput.worker_offalign import LOSSES, REMAT
from offalign import Run
from offalign.files import write_json
from offalign.models import hf
from offalign.training.compiling import Compiling

GOAL = 0.05
STEPS = 10
"""Traced steps, which one line of metrics is logged in."""


def main(argv: Sequence[str] | None = None) -> int:
  """Prints a row for each case; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    "--cases", default="", help="parts of cases' names, with commas"
  )
  parser.add_argument("--steps", type=int, default=STEPS, help="to trace")
  args = parser.parse_args(argv)
  wanted = [part for part in args.cases.split(",") if part]
  device = jax.devices()[0].device_kind
  print(f"{device}, {len(jax.devices())} device(s), jax {jax.__version__}\n")
  print("| case | step, ms | between programs | compiling, s |")
  print("| :--- | ---: | ---: | ---: |", flush=True)
  missed = False
  for case in CASES:
    if wanted and not any(part in case.name for part in wanted):
      continue
    seconds, share, compiling = measure(case, args.steps)
    missed = missed or share > GOAL
    print(
      f"| {case.name} | {1e3 * seconds:.0f} | {share:.1%} | "
      f"{compiling.seconds:.0f} |",
      flush=True,
    )
  print(f"\nthe goal of {GOAL:.0%} is {'missed' if missed else 'met'}")
  return int(missed)


def measure(case: Case, steps: int = STEPS) -> tuple[float, float, Compiling]:
  """Trains and traces; returns a step's seconds, idle share, compilation.

  Args:
    case: losses, model and batch.
    steps: to trace, after the two that compile. One line of metrics falls
      among them, as one may in as many steps of a longer run; evaluations and
      checkpoints, which the devices do wait for, come after them.
  """
  with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made)
    write_model(folder / "model", MODELS[case.model])
    options: dict[str, Any] = {
      "max_prompt": case.prompt,
      "max_completion": case.completion,
      "eval_fraction": 0.0,
    }
    t5 = MODELS[case.model]["model_type"] == "t5"
    run = Run(
      loss=LOSSES[case.loss],
      model=str(folder / "model"),
      data={"path": rows(case), **options},
      out=str(folder / "run"),
      steps=steps + 2,
      log_every=steps,
      eval_every=steps + 2,
      save_every=steps + 2,
      batch_size=case.prompts,
      remat=REMAT,
      optimizer={"name": "adafactor" if t5 else "adam", "warmup_steps": 0},
      eval_samples=None,
      profile=steps,
    )
    run.train(verbose=False)
    programs = trace.programs(folder / "run" / "profile")
  span = max(program.end for program in programs) - programs[0].start
  return span / steps, trace.idle(programs), run.compiling


def rows(case: Case, batches: int = 4) -> list[dict[str, Any]]:
  """Rows of random words, whose lengths in tokens are those of a case."""
  rng = np.random.default_rng(0)
  words = MODELS[case.model]["vocab_size"]

  def text(length: int) -> str:
    return " ".join(f"w{i}" for i in rng.integers(3, words, length))

  def row() -> dict[str, Any]:
    found: dict[str, Any] = {"prompt": text(case.prompt)}
    if case.loss == "dpo":
      for name in ("chosen", "rejected"):
        found[name] = text(case.completion - 1)  # and the end
      return found
    found["completion"] = text(case.completion - 1)
    found["reward"] = float(rng.random() < 0.5)
    return found

  return [row() for _ in range(batches * case.prompts)]


def write_model(folder: pathlib.Path, config: dict[str, Any]) -> None:
  """Writes a model folder: random weights, and words for tokens.

  Args:
    folder: where there is nothing yet.
    config: the config.json.
  """
  folder.mkdir()
  model = hf.describe(config, spec=str(folder), tied=True)
  params = jax.device_get(jax.jit(model.init)(jax.random.key(0)))
  hf.write(folder, config, model, params)
  named = {"pad_token": "<pad>", "unk_token": "<s>", "eos_token": "</s>"}
  vocab = dict.fromkeys(named.values())
  if config["eos_token_id"] == 1:  # T5
    named["unk_token"], vocab = "<s>", dict.fromkeys(("<pad>", "</s>", "<s>"))
  names = [*vocab, *(f"w{i}" for i in range(3, config["vocab_size"]))]
  made = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(
      {word: i for i, word in enumerate(names)}, unk_token=named["unk_token"]
    )
  )
  made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  made.add_special_tokens(list(named.values()))
  made.save(str(folder / "tokenizer.json"))
  write_json(folder / "tokenizer_config.json", named)


if __name__ == "__main__":
  raise SystemExit(main())
