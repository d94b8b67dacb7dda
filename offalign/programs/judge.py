"""python -m offalign.judge --a=FILE --b=FILE --judge=SPEC --out=DIR

Says how often the completions in --a are preferred to those in --b. Each FILE
is JSON lines of prompt and completion (see offalign.generate), or a run
folder, whose policy then completes --prompts. --a may name several, separated
by commas, which are then compared with each other too. For example:

  python -m offalign.judge --a=dro.jsonl,kto.jsonl --b=sft.jsonl \\
    --judge="endpoint(url='https://api.openai.com/v1', model='NAME')" \\
    --out=judged
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags, logging

from offalign import judges, user_code
from offalign.errors import UserError, speaking
from offalign.generation import completions
from offalign.generation.completions import Completions
from offalign.judges import contest, standings
from offalign.judges.win_rates import FOLDS
from offalign.programs import flags as flags_lib

_GENERATE = ("prompts", "step", "max_new_tokens", "temperature", "seed")


def judge(
  a: Sequence[str],
  b: str,
  spec: str,
  out: str | pathlib.Path,
  *,
  folds: int = FOLDS,
) -> list[contest.Duel]:
  """Judges files of completions, and writes winrates.json and winrates.md.

  An endpoint's answers are kept in the same folder, so that the same call
  asks nothing twice.

  Args:
    a: files.
    b: the file that each of them is compared with first.
    spec: the judge's.
    out: a folder.
    folds: of prompts.

  Raises:
    UserError: for files that do not have the same prompts; or see the judge.
  """
  return _judge([completions.read(path) for path in (*a, b)], spec, out, folds)


def _judge(
  contestants: Sequence[Completions],
  spec: str,
  out: str | pathlib.Path,
  folds: int,
  paths: Mapping[str, str] | None = None,
) -> list[contest.Duel]:
  """Judges; `paths` names the run folders that wrote completions."""
  made = judges.make(spec, out)
  duels = contest.contest(made, contestants, folds)
  if paths:
    # Imported here: they bring jax, which files do without.
    from offalign.judges.nats import with_nats
    from offalign.policy.policy import Policy

    step = flags.FLAGS.step or "newest"
    policies = {name: Policy.load(x, step) for name, x in paths.items()}
    duels = with_nats(duels, {c.name: c for c in contestants}, policies)
  contest.write(out, made, duels)
  return duels


def _completions(path: str, out: pathlib.Path) -> Completions:
  """Reads a file; of a run folder, has its policy write one first."""
  if not pathlib.Path(path).is_dir():
    return completions.read(path)
  values = flags.FLAGS
  if not values.prompts:
    raise UserError(
      f"{path} is a folder: name the prompts that its policy is to complete, "
      "--prompts=FILE"
    )
  # Imported here: it brings jax, which files do without.
  from offalign.programs.generate import generate

  name = pathlib.Path(path).name
  file = out / f"{name}.jsonl"
  if file.exists():
    raise UserError(
      f"{file} is there already, perhaps of another checkpoint: give it in "
      f"place of {path}, or delete it"
    )
  given: dict[str, Any] = {
    key: values[key].value
    for key in _GENERATE
    if key != "prompts" and values[key].present
  }
  generate(path, values.prompts, file, **given)
  return completions.read(file)


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Judges; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    needed = ("a", "b", "judge", "out")
    flags_lib.require(argv, needed, "--a, --b, --judge and --out")
    paths, out = [*values.a, values.b], pathlib.Path(values.out)
    if not any(pathlib.Path(path).is_dir() for path in paths):
      for name in _GENERATE:
        if values[name].present:
          raise UserError(
            f"--{name} is for run folders, and --a and --b name files; leave "
            "it out"
          )
    user_code.load_all(values.imports)
    judges.check(values.judge)  # before policies write for it
    made = [_completions(path, out) for path in paths]
    runs = {
      one.name: path
      for one, path in zip(made, paths, strict=True)
      if pathlib.Path(path).is_dir() and values.temperature == 1
    }
    duels = _judge(made, values.judge, out, values.folds, runs)
  except UserError as error:
    flags_lib.complain("offalign.judge", error)
    return 2
  for d in duels:
    found = d.found
    said = (
      "no verdict"
      if found is None
      else (f"{found.rate:.3f} [{found.low:.3f}, {found.high:.3f}]")
    )
    if d.nats:
      said += f", KL {d.nats[0]:.2f} ± {d.nats[1]:.2f} nats"
    flags_lib.say(f"{d.a} against {d.b}: {said}")
  if not all(d.nats for d in duels):
    flags_lib.say(
      "note: a win rate says little without the KL spent on it, which is known "
      "where both sides are run folders and --temperature is 1"
    )
  for sentence in standings.sentences(standings.gaps(duels)):
    flags_lib.say(sentence)
  flags_lib.say(standings.power_line(duels))
  for sentence in contest.warnings(duels):
    flags_lib.say(sentence)
  flags_lib.say(f"report: {out / 'winrates.md'}")
  return 0 if all(d.found for d in duels) else 1


def _flags() -> None:
  def text(name: str, meaning: str) -> None:
    flags.DEFINE_string(name, None, meaning)

  flags.DEFINE_list("a", [], "files or run folders, with commas")
  text("b", "a file or run folder that each of them is compared with")
  text("judge", "a spec: gold(...), reward_model(...) or endpoint(...)")
  text("out", "a folder for the report, and an endpoint's answers")
  flags.DEFINE_integer("folds", FOLDS, "of the prompts", lower_bound=2)
  text("prompts", "for run folders: JSON lines with the prompts to complete")
  text("step", "for run folders: newest, best or a number")
  flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "for run folders; default: as many as the longest completion of the run's "
    "training",
    lower_bound=1,
  )
  flags.DEFINE_float(
    "temperature",
    1.0,
    "for run folders",
    lower_bound=0.0,
  )
  flags.DEFINE_integer("seed", 0, "for run folders")
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("judge", main, __doc__, _flags)
