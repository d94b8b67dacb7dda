"""Kill a run in rounds at random instants: does it end with the same bits?

  python -m benchmarks.rounds_killed --kills=20 --seed=0 --out=FOLDER

A tiny policy is trained in rounds, once undisturbed. Then runs of the same
options are killed (SIGKILL) and begun again, half of the kills at any time and
half soon after a round was begun to be made, until there were as many as asked
for, and trained to their ends. Each must have the metrics, the files of
rounds, and the last state of the first, to the bit; the exit status is 1 where
one has not. Processes are forked, so that imports are paid for once.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from offalign.policy.checkpoint import Checkpoints
from offalign.training.run import Run

ROUNDS = 8


def score(prompt: str, completion: str) -> float:
  """The share of ASCII, of which a new model on bytes gets half."""
  del prompt
  return sum(c.isascii() for c in completion) / max(len(completion), 1)


def options(out: pathlib.Path, cache: pathlib.Path) -> dict[str, Any]:
  """Options of a run in rounds: ratios, and a reference that moves.

  Args:
    out: the run folder.
    cache: of compiled programs, so that lives are not all compilation.
  """
  return {
    "loss": "grpo(behaviour=logged, clip=0.2, beta=0.1)",
    "reference": "ema(0.5)",
    "model": "decoder(width=16, layers=1, heads=2)",
    "tokenizer": "byte",
    "batch_size": 4,
    "log_every": 3,
    "eval_every": 4,
    "save_every": 3,
    "eval_samples": 0,
    "compile_cache": str(cache),
    "out": str(out),
    "grow": {
      "prompts": [f"p{i}" for i in range(12)],
      "score": score,
      "rounds": ROUNDS,
      "every": 2,
      "max_new_tokens": 4,
      "eval_prompts": 1,
    },
  }


def launch(out: pathlib.Path, cache: pathlib.Path) -> int:
  """The process id of a child that trains."""
  pid = os.fork()
  if pid:
    return pid
  status = 1
  try:
    Run(**options(out, cache)).train(verbose=False)
    status = 0
  finally:
    os._exit(status)


def wait(pid: int, due: Callable[[], bool]) -> int | None:
  """Waits until something is due; the exit status of a child that ended."""
  while not due():
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.001)
  return None


def instant(
  out: pathlib.Path, seconds: float, draw: random.Random
) -> tuple[str, Callable[[], bool]]:
  """When to kill a life: its name, and what says that it is time.

  Args:
    out: the run folder.
    seconds: that an undisturbed run takes.
    draw: of the instants.
  """
  begin = time.monotonic()
  if draw.random() < 0.5:
    after = draw.uniform(0, seconds)
    return "at any time", lambda: time.monotonic() - begin > after
  known = {path.name for path in (out / "rounds").glob("*")}
  late = draw.uniform(0, 0.3)
  since: list[float] = []

  def due() -> bool:
    now = {path.name for path in (out / "rounds").glob("*")}
    if not since and now - known:
      since.append(time.monotonic())
    return bool(since) and time.monotonic() - since[0] > late

  return "at a border", due


def fingerprint(out: pathlib.Path, run: Run) -> dict[str, Any]:
  """What must be the same of two runs, by name.

  Args:
    out: the run folder.
    run: of the same options, not trained here.
  """
  lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
  found: dict[str, Any] = {}
  for number, line in enumerate(map(json.loads, lines)):
    line.pop("tokens_per_second", None)
    found[f"metrics, line {number}"] = json.dumps(line)
  for path in sorted((out / "rounds").rglob("*")):
    if path.suffix in (".json", ".jsonl") or path.name == "samples.npz":
      name = str(path.relative_to(out))
      found[name] = arrays(path) if path.suffix == ".npz" else path.read_bytes()
  template = run.learner.init(run.learner.model.init(jax.random.key(0)))
  with Checkpoints(out) as checkpoints:
    state = jax.device_get(checkpoints.restore(template))
  for place, leaf in jax.tree_util.tree_leaves_with_path(state):
    found[f"state{jax.tree_util.keystr(place)}"] = np.asarray(leaf).tobytes()
  return found


def arrays(path: pathlib.Path) -> bytes:
  """The arrays of a file, without the times that are in it."""
  with np.load(path) as file:
    return b"".join(file[name].tobytes() for name in sorted(file.files))


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
  """The names of what is not the same in two runs."""
  return [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def main(argv: list[str] | None = None) -> int:
  """Kills and compares; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--out", type=pathlib.Path)
  args = parser.parse_args(argv)
  root = args.out or pathlib.Path(tempfile.mkdtemp())
  root.mkdir(parents=True, exist_ok=True)
  draw, cache = random.Random(args.seed), root / "programs"
  for name in ("first", "whole"):  # the second without compilation
    begin = time.monotonic()
    if wait(launch(root / name, cache), lambda: False) != 0:
      return 1
    seconds = time.monotonic() - begin
  hit: dict[str, int] = {}
  ends, ended = [root / "first"], True
  while sum(hit.values()) < args.kills:
    if ended:
      ends.append(root / f"cut-{len(ends)}")
    out = ends[-1]
    pid = launch(out, cache)
    name, due = instant(out, seconds, draw)
    status = wait(pid, due)
    if status is None:
      os.kill(pid, signal.SIGKILL)
      os.waitpid(pid, 0)
      made = " while a round is made" if _is_making(out) else ""
      hit[name + made] = hit.get(name + made, 0) + 1
    elif status != 0:
      return 1
    ended = status == 0
  if not ended and wait(launch(ends[-1], cache), lambda: False) != 0:
    return 1
  # Devices are used from here on, and nothing is forked any more.
  run = Run(**options(root / "whole", cache))
  whole = fingerprint(root / "whole", run)
  wrong = 0
  for out in ends:
    found = differences(whole, fingerprint(out, run))
    wrong += bool(found)
    if found:
      print(f"{out}: {len(found)} differ, such as {found[0]}")
  kills = ", ".join(f"{n} {name}" for name, n in sorted(hit.items()))
  print(
    f"{sum(hit.values())} kills ({kills}) in {len(ends) - 1} runs of {ROUNDS} "
    f"rounds: {wrong} runs differ from the one that nothing stopped"
  )
  return 1 if wrong else 0


def _is_making(out: pathlib.Path) -> bool:
  return any((out / "rounds").glob("*.part"))


if __name__ == "__main__":
  sys.exit(main())
