"""python -m benchmarks.run --suite=quick: trains, ranks and reports.

Suites: `theory` (a bandit with a closed-form optimum), `ops` (a small
language model and a programmatic judge), `all`, and `quick`, a few methods
of both in a few minutes; `paper`, the DRO paper's tables on the ops track;
`kl`, methods at equal KL there; `rlhf`, a reward model and on-policy training
beside the offline losses; `overoptimisation`, gold reward against reward
models; `throughput`, steps beside the peers'; and `sentiment`, an alignment of
a published model. `quick` uses the decoder: it is
the benchmark's specified model, and compiles and trains in half the time of
the T5.
"""

import functools
import sys
import time
from collections.abc import Sequence

from absl import app, flags, logging

from benchmarks import (
  cells,
  commands,
  methods,
  ops,
  paper,
  paper_tables,
  theory,
)
from benchmarks.matched_kl import report as matched_kl
from benchmarks.matched_kl import suite as kl_suite
from benchmarks.overoptimisation import cli as overoptimisation
from benchmarks.recorder import Recorder
from benchmarks.rlhf import cost_plot
from benchmarks.rlhf import suite as rlhf
from benchmarks.sentiment import cli as sentiment
from benchmarks.throughput import cli as throughput
from benchmarks.tuning import ranges
from benchmarks.tuning import suite as tuning
from benchmarks.verdicts import verdicts
from benchmarks.worlds import feedback
from benchmarks.worlds.base import World
from benchmarks.worlds.setting import WORLDS, Setting
from offalign import leaderboard, losses
from offalign.errors import UserError

SUITE = flags.DEFINE_enum(
  "suite",
  "quick",
  [
    "quick",
    "theory",
    "ops",
    "all",
    "paper",
    "kl",
    "rlhf",
    "overoptimisation",
    "throughput",
    "sentiment",
  ],
  "What to run.",
)
METHODS = flags.DEFINE_string(
  "methods",
  "",
  "Loss specs or labels, separated by commas; 'all' is every registered "
  "loss. Default: the suite's own list.",
)
SEEDS = flags.DEFINE_integer(
  "seeds",
  None,
  "Seeds, each with a data set of its own. Default: 1 for quick, else 4 for "
  "theory, 3 for ops and 5 for paper.",
  lower_bound=1,
)
OUT = flags.DEFINE_string(
  "out", None, "Where rows and report go. Default: results/SUITE-TIME."
)
MODEL = flags.DEFINE_enum(
  "model",
  None,
  ["decoder", "t5", "both"],
  "The policy of the ops track. Default: decoder; both for all and paper.",
)
TUNE = flags.DEFINE_integer(
  "tune",
  0,
  "For --suite=ops: random draws of each method's options and rates, chosen "
  "on the validation prompts and reported on the test prompts with fresh "
  "seeds. The same command goes on with what --out holds. 0: the suite's own "
  "settings.",
  lower_bound=0,
)
WORLD = flags.DEFINE_enum(
  "world",
  "ops",
  [*WORLDS, "feedback"],
  "For the suites ops, kl and rlhf: which world the language model is aligned "
  "in.",
)
DATA = flags.DEFINE_string(
  "data",
  None,
  "For --world=feedback: the folder that holds hh_harmless, the preferences "
  "that methods learn from and a reward model judges by.",
)
K = flags.DEFINE_enum(
  "k",
  "4",
  ["1", "2", "4"],
  "For the suites ops and kl: logged completions of a prompt.",
)
NOISE = flags.DEFINE_float(
  "noise",
  0.0,
  "For the suites ops, kl and rlhf: noise on each logged reward, in standard "
  "deviations of the rewards.",
  lower_bound=0.0,
)
BINARY = flags.DEFINE_bool(
  "binary",
  False,
  "For the suites ops, kl and rlhf: the log has 1 for a reward above the "
  "median and 0 else.",
)
_SETTING = ("world", "k", "noise", "binary")
_GIVEN = (*_SETTING, "data")
_FOREIGN = (*throughput.NAMES, *sentiment.NAMES)
"""Flags of the two suites that have programs of their own."""


def plan() -> list[tuple[str, list[methods.Method], int]]:
  """(track or model, methods, seeds) of the suite that the flags ask for.

  Raises:
    UserError: for a method that is neither listed nor registered, or a flag
      that the suite does not use.
  """
  suite, quick = SUITE.value, SUITE.value == "quick"
  commands.refuse(_FOREIGN, suite)
  if suite != "ops":
    commands.refuse(("tune", *_GIVEN), suite)
  if suite == "theory":
    commands.refuse(("model", "select"), suite)
  parts: list[tuple[str, list[methods.Method], int]] = []
  if suite == "paper":
    own = tuple(m.name for m in paper.METHODS)
    wanted = "" if METHODS.value == "all" else METHODS.value
    chosen = methods.choose(paper.METHODS, wanted, own)
    cells.check_ops(chosen)
    return [(name, chosen, SEEDS.value or 5) for name in _models("both")]
  if suite != "ops":
    default = methods.QUICK_THEORY if quick else ()
    wanted = METHODS.value
    if suite != "theory" and wanted not in ("", "all"):
      # The specs are for the ops track; theory has options of its own.
      named = methods.choose(methods.OPS, wanted)
      wanted = ",".join(sorted({losses.get(m.loss).name for m in named}))
    chosen = methods.choose(methods.THEORY, wanted, default)
    fitting = [m for m in chosen if theory.fits(m)]
    if fitting:
      parts.append(("theory", fitting, SEEDS.value or (1 if quick else 4)))
  if suite != "theory":
    default = methods.QUICK if quick else ()
    names = _models("both" if suite == "all" else "decoder")
    listed = methods.OPS_T5 if names == ("t5",) else methods.OPS
    chosen = methods.choose(listed, METHODS.value, default)
    cells.check_ops(chosen)
    for name in names:
      parts.append((name, chosen, SEEDS.value or (1 if quick else 3)))
  if not parts:
    raise UserError(
      "none of these methods can stand on the theory board, which compares "
      "with the optimum around a reference; try --suite=ops"
    )
  return parts


def _models(default: str) -> tuple[str, ...]:
  model = MODEL.value or default
  return ("decoder", "t5") if model == "both" else (model,)


def _setting() -> Setting:
  """The world and its log that the flags ask for."""
  return Setting(_world(), int(K.value), NOISE.value, BINARY.value)


_feedback = functools.cache(feedback.Feedback)
"""Its judge is trained once."""


def _world() -> World:
  """The world that --world names.

  Raises:
    UserError: for --data where there is none to read, and the other way.
  """
  if WORLD.value != "feedback":
    commands.refuse(("data",), SUITE.value, f"--world={WORLD.value}")
    return WORLDS[WORLD.value]
  if DATA.value is None:
    raise UserError(
      "--world=feedback learns from real preferences: name the folder that "
      "holds hh_harmless by --data"
    )
  commands.refuse(("k",), SUITE.value, "--world=feedback")
  return _feedback(DATA.value)


def _command(names: Sequence[str]) -> str:
  """How to run this again; a folder of data has another name elsewhere."""
  more = " --data=FOLDER" if WORLD.value == "feedback" else ""
  return commands.command(names) + more


def _given(out: str) -> tuple[Recorder, int]:
  """Runs a suite at its own settings; the recorder and how many runs it has."""
  quick = SUITE.value == "quick"
  parts, setting = plan(), _setting()
  scenarios = theory.QUICK_SCENARIOS if quick else theory.SCENARIOS
  count = sum(
    len(m) * seeds * (len(scenarios) if name == "theory" else 1)
    for name, m, seeds in parts
  )
  given = ("suite", "methods", "seeds", "model", "select", *_SETTING)
  words = _command(given)
  recorder = Recorder(out, words, count)
  for name, chosen, seeds in parts:
    if name == "theory":
      cells.run_theory(recorder, chosen, seeds, quick)
    else:
      label = "paper" if SUITE.value == "paper" else "ops"
      cells.run_ops(recorder, chosen, seeds, name, label, setting)
  return recorder, count


def _tuned(out: str) -> tuple[Recorder, int]:
  """Runs --suite=ops --tune; returns the recorder and how many runs it has."""
  commands.refuse(_FOREIGN, "ops")
  if ops.SELECT.value:
    raise UserError("--tune reports the last step; leave --select out")
  names = _models("decoder")
  lines = ranges.choose(METHODS.value, names)
  seeds, setting = SEEDS.value or 5, _setting()
  count = tuning.count_runs(lines, names, TUNE.value, seeds)
  given = ("suite", "tune", "methods", "seeds", "model", *_SETTING)
  recorder = Recorder(out, _command(given), count, resume=True)
  tuning.run(
    recorder, lines, names, count=TUNE.value, seeds=seeds, setting=setting
  )
  return recorder, count


def _matched(out: str) -> tuple[Recorder, int]:
  """Runs --suite=kl; returns the recorder and how many runs it has."""
  commands.refuse((*_FOREIGN, "select", "tune"), "kl")
  families, names = kl_suite.choose(METHODS.value), _models("decoder")
  seeds, setting = SEEDS.value or 8, _setting()
  count = kl_suite.count_runs(families, names, seeds)
  words = _command(("suite", "methods", "seeds", "model", *_SETTING))
  recorder = Recorder(out, words, count, resume=True)
  kl_suite.run(recorder, families, names, seeds, setting)
  labels = {family.name: kl_suite.labels(family) for family in families}
  matched_kl.write(recorder.folder, leaderboard.read(out)[0], labels)
  return recorder, count


def _ladder(out: str) -> tuple[Recorder, int]:
  """Runs --suite=rlhf; returns the recorder and how many runs it has."""
  commands.refuse((*_FOREIGN, "select", "tune", "k"), "rlhf")
  chosen, (name, *others) = rlhf.choose(METHODS.value), _models("decoder")
  if others:
    raise UserError("--suite=rlhf is of one model at a time, not --model=both")
  seeds = SEEDS.value or 5
  count = rlhf.count_runs(chosen, seeds)
  words = _command(("suite", "methods", "seeds", "model", *_SETTING))
  recorder = Recorder(out, words, count, resume=True)
  rlhf.run(recorder, chosen, name, seeds, _setting())
  cost_plot.write(recorder.folder, leaderboard.read(out)[0])
  return recorder, count


def main(argv: Sequence[str]) -> int:
  """Runs a suite; returns the exit status."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument {argv[1]!r}")
  logging.set_verbosity(logging.WARNING)
  began = time.perf_counter()
  out = OUT.value or time.strftime(f"results/{SUITE.value}-%Y%m%d-%H%M%S")
  try:
    own = ("methods", "seeds", "model", "select", "tune", *_GIVEN)
    if SUITE.value == "throughput":
      commands.refuse((*own, "tiny"), "throughput")
      return throughput.run(out)
    if SUITE.value == "overoptimisation":
      commands.refuse((*own[2:], *_FOREIGN), "overoptimisation")
      return overoptimisation.run(out, METHODS.value, SEEDS.value)
    if SUITE.value == "sentiment":
      commands.refuse((*own, *throughput.NAMES), "sentiment")
      return sentiment.run(out)
    is_paper = SUITE.value == "paper"
    if SUITE.value == "kl":
      recorder, count = _matched(out)
    elif SUITE.value == "rlhf":
      recorder, count = _ladder(out)
    elif SUITE.value == "ops" and TUNE.value:
      recorder, count = _tuned(out)
    else:
      recorder, count = _given(out)
    rows = leaderboard.read(out)[0]
    if SUITE.value in ("kl", "rlhf") or TUNE.value or _setting().words:
      said = []  # the claims are of other settings than theirs
    elif is_paper:
      said = paper_tables.verdicts(rows, recorder.points)
    else:
      said = verdicts(rows)
    recorder.finish(said)
    board = leaderboard.load(out)
    paths = leaderboard.write(board, out)
  except UserError as error:
    print(f"benchmarks.run: {error}", file=sys.stderr)
    return 2
  if is_paper:
    print(paper_tables.write(out, rows))
  print(leaderboard.render_text(board))
  print(f"{count} runs in {time.perf_counter() - began:.0f} s")
  print(f"report: {recorder.folder / paths[0]} and report.html")
  return 1 if any(group.failures for group in board.groups) else 0


if __name__ == "__main__":
  losses.names()  # entry points load, and warn, before the bar is drawn
  app.run(main)
