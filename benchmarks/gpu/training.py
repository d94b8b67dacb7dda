"""The parts t5 and dpo: steps a second, MFU, memory, and where time goes."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import jax

from benchmarks.gpu import devices, flops, page, sizes, steps
from benchmarks.gpu.page import Page
from benchmarks.gpu.sizes import Task
from benchmarks.gpu.steps import Measured
from offalign.errors import UserError

NEEDED = ("trl", "datasets", "accelerate")
"""Packages of the peer; its kernels are another, `liger_kernel`."""
MODES = {
  "liger": "TRL with Liger",
  "precomputed": "TRL, reference precomputed, without Liger",
}
TIMES = 1.3
"""Goal: how many times as fast as the fastest peer."""
_PEER_SECONDS = 150


def t5(
  report: Page, tiny: bool, out: pathlib.Path, weights: str | None
) -> None:
  """DRO-V on the T5s of the paper, or on one that is given."""
  del out
  tasks = sizes.t5(tiny)
  for task in tasks[:1] if weights else tasks:
    _ours(report, task.of(weights))


def dpo(
  report: Page, tiny: bool, out: pathlib.Path, weights: str | None
) -> None:
  """DPO on the decoder, beside TRL where that is here.

  The peer goes first, since jax keeps the memory that it has taken.
  """
  (task,) = (each.of(weights) for each in sizes.dpo(tiny))
  peers = _peers(report, task, out)
  ours = _ours(report, task)
  if ours is None or not peers:
    report.say(f"Nothing to hold the goal of {TIMES} times a peer against.")
    return
  fastest = min(peers, key=lambda peer: peer["median"])
  times = fastest["median"] / ours.median
  report.say(
    f"{times:.2f} times as fast as {fastest['name']}, the fastest peer. "
    + page.verdict(times, None if tiny else TIMES, "times")
  )


def _ours(report: Page, task: Task) -> Measured | None:
  report.say(f"## {task.name}, {task.loss}\n\n{task.tokens}; bfloat16, random")
  try:
    got = steps.measure(task)
  except UserError as error:
    report.add(task.name, str(error), str(error))
    return None
  rate = [1 / s for s in got.seconds]
  name = jax.devices()[0].device_kind
  reached = devices.unknown(name) if got.mfu is None else f"{got.mfu:.1%}"
  peak = (
    "not said by this device" if got.peak_gb is None else f"{got.peak_gb:.1f}"
  )
  model = steps.model_of(task.config, task.name)
  rows = [
    ["parameters of the policy", f"{flops.parameters(model):,}"],
    ["memory is saved by", got.way],
    [
      "steps/s, median (least to most)",
      f"{1 / got.median:.3f} ({min(rate):.3f} to {max(rate):.3f})",
    ],
    ["tokens/s", f"{steps.tokens_a_second(task.tokens, got.median):,.0f}"],
    ["TFLOP of a step", f"{got.flops * 1e-12:.3g}"],
    ["MFU", reached],
    ["GB of the compiled step", f"{got.program_gb:.2f}"],
    ["GB at most", peak],
    ["compiling, s", f"{got.compiling:.0f}"],
    ["the device did nothing for", f"{got.idle:.1%}"],
    ["loss", f"{got.loss:.4g}"],
  ]
  report.add(task.name, dataclasses.asdict(got), page.table(["", ""], rows))
  report.say(f"Where the time goes: {page.shares(got.kinds)}.")
  for sentence in got.refused:
    report.say(sentence)
  verdict = page.verdict(1 / got.median, task.goal, "steps/s")
  if verdict:
    report.say(f"{verdict} ({task.said})")
  return got


def missing() -> list[str]:
  """The packages of the peer that are not here."""
  return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def _peers(report: Page, task: Task, out: pathlib.Path) -> list[dict[str, Any]]:
  """What the peer made of the task; absent and failed ones are said."""
  if missing():
    report.say(
      f"TRL is not compared with: no package {', '.join(missing())} here. "
      "docs/gpu.md says which wheels to carry; give their folder as --wheels."
    )
    return []
  found = []
  for mode, name in MODES.items():
    if mode == "liger" and importlib.util.find_spec("liger_kernel") is None:
      report.say(f"{name} was not run: no package liger_kernel here.")
      continue
    told = json.dumps(
      {
        "mode": mode,
        "config": task.config,
        "weights": task.weights,
        "tokens": dataclasses.asdict(task.tokens),
      }
    )
    log = out / f"trl-{mode}.log"
    out.mkdir(parents=True, exist_ok=True)
    try:
      with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(
          [sys.executable, "-m", "benchmarks.gpu.worker_trl", told],
          stdout=subprocess.PIPE,
          stderr=errors,
          env=os.environ,
          text=True,
          check=True,
          timeout=_PEER_SECONDS,
        )
      answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
      report.say(
        f"{name} did not run to its end ({type(error).__name__}); "
        f"{log.name} says why."
      )
      continue
    answer |= {"name": name, "median": statistics.median(answer["seconds"])}
    found.append(answer)
    report.add(
      name,
      answer,
      f"{name}: {1 / answer['median']:.3f} steps/s, at most "
      f"{answer['peak_gb']:.1f} GB; {answer['versions']}",
    )
  return found
