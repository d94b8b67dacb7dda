"""--suite=sentiment of benchmarks.run: its flags, and where it begins."""

import pathlib

from absl import flags

from benchmarks import commands
from benchmarks.sentiment import report, scores, sizes, suite
from benchmarks.sentiment.folder import Folder
from benchmarks.sentiment.training import Task
from offalign import Policy
from offalign.errors import UserError

WEIGHTS = flags.DEFINE_string(
  "weights",
  ".cache/real/smollm2",
  "Sentiment and throughput: the folder of SmolLM2-135M-Instruct. Throughput "
  "leaves its cases out unless this flag is given.",
)
TINY = flags.DEFINE_bool(
  "tiny",
  False,
  "Sentiment: a few steps on any model folder, scored by vowels; shows that "
  "the suite runs, and nothing else.",
)
NAMES = ("weights", "tiny")


def run(out: str) -> int:
  """Runs the suite, or what of it is missing; returns the exit status.

  Raises:
    UserError: for weights that are not there, or another folder.
  """
  check_weights(WEIGHTS.value)
  wanted = sizes.TINY if TINY.value else sizes.Sizes()
  if wanted.words:
    scores.check()
  folder = Folder(pathlib.Path(out))
  folder.begin(wanted, commands.command(("suite", *NAMES)))
  score = scores.vader if wanted.words else scores.vowels
  base = Policy.load(WEIGHTS.value)
  suite.run(Task(folder, WEIGHTS.value, base, wanted, score))
  print(report.write(folder))
  print(f"report: {folder.path / 'report.md'} and report.html")
  return 0


def check_weights(name: str) -> None:
  """Finds out whether the base model is there.

  Raises:
    UserError: where it is not; says how to get it.
  """
  path = pathlib.Path(name)
  if not (path / "config.json").is_file():
    raise UserError(
      f"--weights={name} holds no model: python -m benchmarks.real_files "
      f"{path.parent} fetches SmolLM2 to {path.parent / 'smollm2'}"
    )
