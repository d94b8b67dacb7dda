"""Does refitting keep the reward model right about what the policy writes now?

  python -m benchmarks.refitted --seeds=3 --out=FOLDER

The world: words of two to six letters from a to h. Gold counts the different
letters from a to d and takes off each repeated letter. The reward model knows
words without repeats, as gold orders them, so that nothing tells it that
repeats are bad. From there RLOO trains in rounds, once with `grow.refit`, whose
judge is the gold reward, and once without. Printed by border: the share of the
newest samples' pairs that the reward model orders as the judge does, before it
is trained on them; the same of the first model; and the gold reward of
held-out prompts in both runs.
"""

import argparse
import inspect
import json
import pathlib
import random
import statistics
from typing import Any

from offalign import Run
from offalign.training.rounds.scoring import HELD_JUDGE

ROUNDS, EVERY = 6, 15
_MODEL = "decoder(width=32, layers=1, heads=2)"


def gold(prompt: str, completion: str) -> int:
  """Different letters from a to d, less repeats."""
  del prompt
  different = set(completion)
  return len(different & set("abcd")) - (len(completion) - len(different))


def _prompts(n: int, rng: random.Random) -> list[str]:
  return ["".join(rng.sample("mnopqrst", 4)) + ":" for _ in range(n)]


def _word(rng: random.Random) -> str:
  return "".join(rng.sample("abcdefgh", rng.randint(2, 6)))


def prepare(folder: pathlib.Path, seed: int, pairs: int) -> None:
  """Trains the first policy and the first reward model."""
  rng = random.Random(seed)
  rows = [
    {"prompt": p, "completion": _word(rng), "reward": 1.0}
    for p in _prompts(2000, rng)
  ]
  Run(
    loss="sft",
    model=_MODEL,
    tokenizer="byte",
    data={"path": rows, "eval_fraction": 0.02},
    steps=300,
    batch_size=32,
    optimizer={"learning_rate": 2e-3},
    compile_cache=str(folder / "cache"),
    seed=seed,
    out=str(folder / "sft"),
  ).train(verbose=False)
  lines: list[str] = []
  while len(lines) < pairs:
    prompt = _prompts(1, rng)[0]
    two = sorted((_word(rng), _word(rng)), key=lambda x: gold(prompt, x))
    if gold(prompt, two[0]) < gold(prompt, two[1]):
      row = {"prompt": prompt, "chosen": two[1], "rejected": two[0]}
      lines.append(f"{json.dumps(row)}\n")
  (folder / "first.jsonl").write_text("".join(lines), encoding="utf-8")
  (folder / "gold.py").write_text(inspect.getsource(gold), encoding="utf-8")
  Run(
    loss="bradley_terry",
    init=str(folder / "sft"),
    data={"path": str(folder / "first.jsonl")},
    steps=150,
    batch_size=16,
    optimizer={"learning_rate": 1e-3},
    compile_cache=str(folder / "cache"),
    seed=seed,
    out=str(folder / "rm"),
  ).train(verbose=False)


def grown(folder: pathlib.Path, seed: int, refit: str | None) -> Run:
  """RLOO in rounds, with or without refitting."""
  rng = random.Random(seed + 10_000)
  run = Run(
    loss="rloo(beta=0.01)",
    init=str(folder / "sft"),
    batch_size=16,
    optimizer={"learning_rate": 1e-3},
    data={"eval_fraction": 0.2},
    eval_every=EVERY,
    log_every=EVERY,
    eval_samples=0,
    compile_cache=str(folder / "cache"),
    seed=seed,
    out=str(folder / ("refit" if refit else "plain")),
    grow={
      "prompts": _prompts(400, rng),
      "score": f"reward_model(run={str(folder / 'rm')!r}, batch_size=64)",
      "judge": f"{folder / 'gold.py'}:gold",
      "rounds": ROUNDS,
      "every": EVERY,
      "batch": 60,
      "samples": 4,
      "eval_prompts": 64,
      "max_new_tokens": 8,
      "refit": refit,
    },
  )
  run.train(verbose=False)
  return run


def main() -> None:
  """Trains and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--pairs", type=int, default=256, help="of first data")
  parser.add_argument("--options", default="pairs=96, steps=50, replay=0.5")
  parser.add_argument("--out", required=True)
  given = parser.parse_args()
  found: dict[str, list[Any]] = {}
  for seed in range(given.seeds):
    folder = pathlib.Path(given.out) / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rm").exists():
      prepare(folder, seed, given.pairs)
    spec = (
      f"refit(judge={str(folder / 'gold.py') + ':gold'!r}, {given.options})"
    )
    for name, refit in (("refit", spec), ("plain", None)):
      curves = grown(folder, seed, refit).metrics
      gold = curves[HELD_JUDGE][1]
      found.setdefault(f"gold {name}", []).append(gold[: ROUNDS + 1])
      for kind in ("agreement", "agreement_first"):
        if refit:
          at = curves[f"refit/{kind}"][1]
          found.setdefault(kind, []).append([float("nan"), *at])
    for name, values in found.items():
      means = [statistics.fmean(x) for x in zip(*values, strict=True)]
      row = "  ".join(f"{x:.3f}" for x in means)
      print(f"{seed + 1} seeds  {name:16s} {row}", flush=True)


if __name__ == "__main__":
  main()
