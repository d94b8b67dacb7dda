"""python -m benchmarks.data_size: what a run takes for so many rows of data.

Writes synthetic rows into a temporary folder and trains a few steps on them in
a process of its own. Prints, as JSON and as a row of docs/data-size.md, the
most memory that the process held, and how long each part took.

  python -m benchmarks.data_size --rows=1000000 --form=pairs
"""

import argparse
import functools
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

LOSSES = {"traj": "dro_v(tau=1.0)", "pairs": "dpo(beta=0.1)"}
"""Form of the rows -> the loss that is trained on them."""

_CHARACTERS = {"traj": (100, 215), "pairs": (80, 120)}  # prompt, completion
_WORDS = 20_000
_TEXT = 2_000_000  # characters that texts are cut from
_PARTS = {
  "reading": ("offalign.training.sources", "load"),
  "views": ("offalign.training.views", "make"),
  "tokenizer": ("offalign.policy.start", "tokenizer"),
  "tokenising": ("offalign.training.inputs", "_tokenize"),
  "checks": ("offalign.training.equal_rows", "check"),
}
"""Name -> module and function whose time it is."""


def write(path: pathlib.Path, rows: int, form: str, seed: int = 0) -> None:
  """Writes rows of about 380 bytes, each with a prompt of its own.

  Args:
    path: the file of JSON lines.
    rows: how many.
    form: "traj" or "pairs".
    seed: of the texts.
  """
  draw = random.Random(seed)
  letters = "abcdefghijklmnopqrstuvwxyz"
  words = [
    "".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(_WORDS)
  ]
  text = " ".join(draw.choices(words, k=_TEXT // 6))
  asked, said = _CHARACTERS[form]

  def cut(size: int) -> str:
    start = int(draw.random() * (len(text) - size))
    return text[start : start + size]

  with path.open("w", encoding="utf-8") as file:
    for i in range(rows):
      row: dict[str, Any] = {"prompt": f"{i} {cut(asked)}"}
      if form == "traj":
        row |= {"completion": cut(said), "reward": round(draw.random(), 3)}
      else:
        row |= {"chosen": cut(said), "rejected": cut(said)}
      file.write(json.dumps(row) + "\n")


def train(folder: pathlib.Path, form: str, steps: int, tokenizer: str) -> None:
  """Trains on the rows in a folder, and writes what that took.

  Args:
    folder: holds rows.jsonl, and is given run/ and result.json.
    form: see `write`.
    steps: few.
    tokenizer: "bpe" is trained on the texts; "byte" is there.
  """
  began = time.monotonic()
  import importlib

  from offalign.leaderboard.provenance import peak_memory_mb
  from offalign.training.run import Run

  seconds = {"imports": time.monotonic() - began}
  imported = int(peak_memory_mb())
  for part, (module, name) in _PARTS.items():
    _time(importlib.import_module(module), name, part, seconds)
  data = {"path": str(folder / "rows.jsonl"), "eval_rows": 64}
  run = Run(
    loss=LOSSES[form],
    model="decoder(width=32, layers=1, heads=2)",
    data=data,
    tokenizer=tokenizer,
    out=str(folder / "run"),
    steps=steps,
    eval_every=steps,
    batch_size=8,
  )
  read = int(peak_memory_mb())
  run.train()
  train_rows = run.inputs.train
  tokens = sum(
    len(part.tokens) for part in (train_rows.prompts, train_rows.completions)
  )
  result = {
    "imported_mib": imported,
    "read_mib": read,
    "peak_mib": int(peak_memory_mb()),
    "tokens": tokens,
    "seconds": seconds | {"all": time.monotonic() - began},
  }
  (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _time(module: Any, name: str, part: str, seconds: dict[str, float]) -> None:
  """Adds up how long a function of a module takes."""
  function: Callable[..., Any] = getattr(module, name)

  @functools.wraps(function)
  def timed(*args: Any, **options: Any) -> Any:
    began = time.monotonic()
    try:
      return function(*args, **options)
    finally:
      seconds[part] = seconds.get(part, 0.0) + time.monotonic() - began

  setattr(module, name, timed)


def measure(
  rows: int, form: str, *, steps: int = 3, tokenizer: str = "bpe"
) -> dict[str, Any]:
  """Writes rows, trains on them in a child process; returns what it took.

  Args:
    rows: how many.
    form: see `write`.
    steps: of training.
    tokenizer: see `train`.

  Raises:
    RuntimeError: where the training failed.
  """
  with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made)
    path = folder / "rows.jsonl"
    write(path, rows, form)
    command = [sys.executable, "-m", "benchmarks.data_size", "--child", made]
    command += [f"--form={form}", f"--steps={steps}"]
    done = subprocess.run([*command, f"--tokenizer={tokenizer}"])
    if done.returncode:
      raise RuntimeError(f"the training ended with {done.returncode}")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {
      "rows": rows,
      "form": form,
      "tokenizer": tokenizer,
      "file_mib": round(path.stat().st_size / (1 << 20)),
      **result,
    }


def table_row(result: dict[str, Any]) -> str:
  """A row of the table in docs/data-size.md."""
  seconds = result["seconds"]
  shown = [f"{seconds.get(part, 0):,.0f}" for part in _PARTS]
  cells = [
    f"{result['rows']:,}",
    result["form"],
    result["tokenizer"],
    f"{result['file_mib']:,} MiB",
    f"{result['tokens'] * 4 / (1 << 20):,.0f} MiB",
    f"{result['peak_mib'] / 1024:.2f} GiB",
    " + ".join(shown),
  ]
  return f"| {' | '.join(cells)} |"


def main() -> None:
  """Measures what the flags say."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--rows", type=int, default=100_000)
  parser.add_argument("--form", choices=sorted(LOSSES), default="traj")
  parser.add_argument("--steps", type=int, default=3)
  parser.add_argument("--tokenizer", choices=["bpe", "byte"], default="bpe")
  parser.add_argument("--child", type=pathlib.Path, help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.child is not None:
    train(flags.child, flags.form, flags.steps, flags.tokenizer)
    return
  result = measure(
    flags.rows, flags.form, steps=flags.steps, tokenizer=flags.tokenizer
  )
  print(json.dumps(result))
  print(table_row(result))


if __name__ == "__main__":
  main()
