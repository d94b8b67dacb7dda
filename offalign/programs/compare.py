"""offalign compare RUN RUN ... --judge=SPEC --out=DIR

Says which of several trained policies is better: each completes the prompts
that all runs held out, and a judge compares every one with the first (or with
--baseline). Writes DIR/compare.html, compare.md, compare.json, rows.jsonl for
`offalign leaderboard DIR`, and the completions. One RUN without a judge gets a
page of its own, DIR/run.html: its curves, and six prompts before and after. For
example:

  offalign compare runs/sft runs/dro runs/kto --judge=my_file.py:score \\
    --out=compared
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from offalign import judges, user_code
from offalign.errors import UserError, speaking
from offalign.judges.win_rates import FOLDS
from offalign.programs import flags as flags_lib

_USAGE = "RUN RUN ... --judge=SPEC --out=DIR"
_PASSED = (
  "judge",
  "out",
  "baseline",
  "prompts",
  "limit",
  "step",
  "max_new_tokens",
  "temperature",
  "seed",
  "batch_size",
  "folds",
)
_OF_ONE = (
  "out",
  "prompts",
  "limit",
  "step",
  "max_new_tokens",
  "temperature",
  "seed",
)


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Compares; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    runs = list(argv[1:])
    if not runs:
      raise UserError(f"no run is named: give {_USAGE}")
    alone = len(runs) == 1 and not (values.baseline or values.judge)
    needed = ("out",) if alone else ("judge", "out")
    flags_lib.require(argv[:1], needed, _USAGE)
    user_code.load_all(values.imports)
    if alone:
      return _describe(runs[0])
    judges.check(values.judge)  # before policies write for it
    # Imported here: it brings jax, which --help and mistakes do without.
    from offalign.compare import report, text
    from offalign.compare.run import compare_runs

    given: dict[str, Any] = {name: values[name].value for name in _PASSED}
    found = compare_runs(runs, **given)
  except UserError as error:
    flags_lib.complain("offalign.compare", error)
    return 2
  for line in text.console(found):
    flags_lib.say(line)
  for sentence in found.said:
    flags_lib.say(sentence)
  flags_lib.say(f"page: {pathlib.Path(values.out) / report.PAGE}")
  judged = [entry.duel for entry in found.others if entry.duel]
  return 0 if all(duel.found for duel in judged) else 1


def _describe(run: str) -> int:
  """Writes the page of one run."""
  from offalign.compare import one_run

  values = flags.FLAGS
  for name in ("folds", "batch_size"):
    if values[name].present:
      raise UserError(one_run.unused(name))
  given: dict[str, Any] = {name: values[name].value for name in _OF_ONE}
  path = one_run.describe_run(run, **given)
  flags_lib.say(f"page: {path}")
  return 0


def _flags() -> None:
  for name, default, meaning in (
    (
      "judge",
      None,
      "my_file.py:function, or a spec: gold(...), reward_model(...) or "
      "endpoint(...)",
    ),
    ("out", None, "a folder for the report and the completions"),
    ("baseline", None, "the run that others are compared with; default: first"),
    (
      "prompts",
      None,
      'JSON lines with "prompt"; default: the prompts that all runs held out',
    ),
    ("step", "newest", "of the checkpoints: newest, best or a number"),
  ):
    flags.DEFINE_string(name, default, meaning)
  for name, number, meaning in (
    ("limit", None, "prompts at most; default: 256 held-out ones, all of FILE"),
    (
      "max_new_tokens",
      None,
      "tokens of a completion at most; default: the runs' longest limit",
    ),
    ("batch_size", 32, "completions at a time"),
  ):
    flags.DEFINE_integer(name, number, meaning, lower_bound=1)
  flags.DEFINE_integer("folds", FOLDS, "of the prompts", lower_bound=2)
  flags.DEFINE_integer("seed", 0, "of the samples")
  flags.DEFINE_float(
    "temperature", 1.0, "0 takes the likeliest tokens", lower_bound=0.0
  )
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("compare", main, __doc__, _flags)
