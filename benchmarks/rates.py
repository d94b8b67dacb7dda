"""python -m benchmarks.rates DIR: which learning rates fit which start.

A small decoder learns the `ops` world (`benchmarks.ops_world`) as text: new
weights by sft at three rates, then, from one such run, all weights or LoRA by
DRO-V and DPO at three rates each, two seeds of each. Every part is a sweep
(`offalign.run_sweep`), whose folder and page are DIR/PART; the judge is the
world's gold reward. DIR/rates.md is the table. What is done is not done again.

The model has a hundred thousand weights: of a model of billions, the ratio of
LoRA's rate to that of all weights may carry over, and the rates do not.
"""

import json
import pathlib
import sys
from typing import Any

import numpy as np

import offalign as oa
from benchmarks import ops_world as world
from offalign.compare import grid as grid_lib
from offalign.compare.grid import Grid
from offalign.files import write_atomically

MODEL = "decoder(width=64, layers=2, heads=4)"
COMMON: dict[str, Any] = {
  "batch_size": 32,
  "keep": 1,
  "log_every": 50,
}
DATA = {"eval_fraction": 0.1, "max_prompt": 16, "max_completion": 16}
SFT_STEPS, BASE_STEPS, STEPS = 300, 1500, 150
PARTS: dict[str, dict[str, Any]] = {
  "dro_v-full": {"loss": "dro_v(tau=0.1)"},
  "dpo-full": {"loss": "dpo(beta=0.3)"},
  "dro_v-lora": {"loss": "dro_v(tau=0.1)", "lora": {"rank": 8}},
  "dpo-lora": {"loss": "dpo(beta=0.3)", "lora": {"rank": 8}},
}
RATES = {"full": [1e-5, 1e-4, 1e-3], "lora": [1e-4, 1e-3, 1e-2]}
NEW_RATES = [1e-4, 3e-4, 1e-3]
PROMPTS = 128  # that the judge sees
_MARKS = {world.SEP: ">", world.COPY: "C", world.REV: "R", world.SORT: "S"}
_SAID = {world.PRE: "*", world.UM: "~", world.DONE: "!"}


def prompt_text(prompt: np.ndarray) -> str:
  """A prompt [7] as text, such as "Rabc>"."""
  return "".join(_char(t) for t in prompt if t != world.PAD)


def completion_text(tokens: np.ndarray, mask: np.ndarray) -> str:
  """A completion [11] as text, such as "cba!"; its end is not written."""
  kept = tokens[mask]
  return "".join(_char(t) for t in kept if t != world.EOS)


def gold(prompt: str, completion: str) -> float:
  """The gold reward of a text; what is no token of the world counts as UM."""
  known = {_char(t): t for t in range(world.VOCAB) if _char(t)}
  said = [known[c] for c in prompt]
  tokens = [said[0], *said[1:-1]]
  tokens += [world.PAD] * (world.PROMPT_WIDTH - 1 - len(tokens)) + [world.SEP]
  wrote = [known.get(c, world.UM) for c in completion]
  wrote = [*wrote, world.EOS][: world.COMPLETION_WIDTH]
  padded = wrote + [world.PAD] * (world.COMPLETION_WIDTH - len(wrote))
  mask = np.arange(world.COMPLETION_WIDTH) < len(wrote)
  found = world.gold_reward(
    np.array([tokens], np.int32), np.array([padded], np.int32), mask[None]
  )
  return float(found[0])


def _char(token: int) -> str:
  if token >= world.FIRST_LETTER:
    return chr(ord("a") + int(token) - world.FIRST_LETTER)
  return _MARKS.get(int(token), _SAID.get(int(token), ""))


def write_data(folder: pathlib.Path) -> None:
  """Writes sft.jsonl and feedback.jsonl: four completions of each prompt."""
  rng = world.generator("sft", 0)
  asked = world.prompts(4096, rng)
  tokens, mask = world.demonstrations(asked, rng)
  demos = [
    {"prompt": prompt_text(p), "completion": completion_text(t, m)}
    for p, t, m in zip(asked, tokens, mask, strict=True)
  ]
  rng = world.generator("train", 0)
  asked = world.prompts(1024, rng)
  rows = []
  for _ in range(4):
    tokens, mask = world.demonstrations(asked, rng)
    rewards = world.gold_reward(asked, tokens, mask)
    rows += [
      {
        "prompt": prompt_text(p),
        "completion": completion_text(t, m),
        "reward": float(r),
      }
      for p, t, m, r in zip(asked, tokens, mask, rewards, strict=True)
    ]
  for name, lines in (("sft", demos), ("feedback", rows)):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(folder / f"{name}.jsonl", text)


def new_weights(folder: pathlib.Path) -> Grid:
  """The sweep of new weights by sft; compared by held-out loss."""
  out = folder / "sft-new"
  oa.run_sweep(
    loss="sft",
    model=MODEL,
    tokenizer="byte",
    data={"path": str(folder / "sft.jsonl"), **DATA},
    optimizer={"learning_rate": NEW_RATES},
    steps=SFT_STEPS,
    seeds=2,
    out=out,
    verbose=False,
    compile_cache=str(folder / "compiled"),
    **COMMON,
  )
  return oa.compare_sweep(out, verbose=False)


def base(folder: pathlib.Path) -> pathlib.Path:
  """The run that the others start from."""
  out = folder / "base"
  run = oa.Run(
    loss="sft",
    model=MODEL,
    tokenizer="byte",
    data={"path": str(folder / "sft.jsonl"), **DATA},
    optimizer={"learning_rate": 1e-3},
    steps=BASE_STEPS,
    out=out,
    compile_cache=str(folder / "compiled"),
    **COMMON,
  )
  run.train(verbose=False)
  return out


def aligned(folder: pathlib.Path, part: str) -> Grid:
  """One sweep of aligning the base run; compared by the gold reward."""
  out = folder / part
  rates: dict[str, Any] = {"learning_rate": RATES[part.rpartition("-")[2]]}
  if part.startswith("dro_v"):
    rates["value_learning_rate"] = 3e-4
  oa.run_sweep(
    init=str(folder / "base"),
    data={"path": str(folder / "feedback.jsonl"), **DATA},
    optimizer=rates,
    steps=STEPS,
    seeds=2,
    out=out,
    verbose=False,
    compile_cache=str(folder / "compiled"),
    **PARTS[part],
    **COMMON,
  )
  return oa.compare_sweep(out, judge=gold, limit=PROMPTS, verbose=False)


def table(found: dict[str, Grid]) -> str:
  """The rates of each part as Markdown, best first by the part's measure."""
  lines = [
    "# Learning rates by start",
    "",
    "`python -m benchmarks.rates DIR`. Two seeds of each; win rate and gold",
    f"reward on {PROMPTS} held-out prompts against the run that all started",
    "from, with 95% intervals over seeds and prompts; KL in nats a completion,",
    "sampled.",
    "",
    "| what is trained | rate | win rate | gold reward | held-out loss | KL |",
    "| :--- | ---: | ---: | ---: | ---: | ---: |",
  ]
  for part, one in found.items():
    for option in one.options:
      cells = [
        grid_lib.text(option.spreads[name]) if name in option.spreads else "–"
        for name in (grid_lib.WIN, grid_lib.SCORE, grid_lib.LOSS)
      ]
      moved = "–" if option.kl is None else f"{option.kl:.3g}"
      rate = option.label.partition("=")[2]
      lines.append(f"| {part} | {rate} | {' | '.join(cells)} | {moved} |")
  lines.append("")
  lines += [f"* {part}: {one.verdict()}" for part, one in found.items()]
  return "\n".join(lines) + "\n"


def main(folder: pathlib.Path) -> None:
  """Runs all parts, and writes the table after each."""
  folder.mkdir(parents=True, exist_ok=True)
  write_data(folder)
  base(folder)
  found = {}
  for part in (*PARTS, "sft-new"):
    one = new_weights(folder) if part == "sft-new" else aligned(folder, part)
    found[part] = one
    write_atomically(folder / "rates.md", table(found))
    print(part, one.verdict(), flush=True)


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
