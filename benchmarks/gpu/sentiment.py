"""The suite `sentiment` with ten times the steps."""

import dataclasses
import importlib.util
import pathlib
import time

from benchmarks.gpu.page import Page
from offalign.errors import UserError

NEEDED = ("tensorboardX", "httpx2", "vaderSentiment")
"""Packages that the other parts do without."""
LIMIT = 420
"""Seconds after which no other cell is begun."""


def run(
  report: Page, tiny: bool, out: pathlib.Path, weights: str | None
) -> None:
  """Runs what the folder lacks, cell by cell, until the time is up.

  One run of each cell and two rates, so that all six fit in the time.

  Raises:
    UserError: without weights, or without a package that it needs.
  """
  lacking = [x for x in NEEDED if importlib.util.find_spec(x) is None]
  if lacking:
    raise UserError(
      f"--part=sentiment needs {', '.join(lacking)}: carry their wheels "
      "(docs/gpu.md) and give the folder as --wheels"
    )
  try:  # what a machine may lack
    from benchmarks.sentiment import cli, scores, sizes, suite
    from benchmarks.sentiment import report as pages
    from benchmarks.sentiment.folder import Folder
    from benchmarks.sentiment.training import Task
    from offalign import Policy
  except ImportError as error:
    raise UserError(
      f"--part=sentiment cannot begin ({error}): carry the wheel of that too "
      "(docs/gpu.md)"
    ) from None

  cli.check_weights(str(weights))
  plain = sizes.Sizes()
  wanted = dataclasses.replace(
    plain,
    steps=10 * plain.steps,
    seeds=1,
    lora=(3e-4, 1e-3),
    full=(3e-5, 1e-4),
  )
  if tiny:
    wanted = dataclasses.replace(sizes.TINY, seeds=1, full=(1e-3,))
  else:
    scores.check()
  folder = Folder(out / "sentiment")
  folder.begin(wanted, "benchmarks/gpu/run.sh --part=sentiment")
  base = Policy.load(str(weights))
  score = scores.vowels if tiny else scores.vader
  task, began = (
    Task(folder, str(weights), base, wanted, score),
    time.monotonic(),
  )
  for cell in sizes.CELLS[:1] if tiny else sizes.CELLS:
    if time.monotonic() - began > LIMIT:
      report.say("The time was up: the same command goes on from here.")
      break
    suite.run(task, (cell,))
    report.say(f"{cell.label} is done at {time.monotonic() - began:.0f} s.")
  rows = [dataclasses.asdict(row) for row in folder.rows()]
  report.add("sentiment", rows, pages.write(folder))
