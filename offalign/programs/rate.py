"""offalign rate --a=FILE --b=FILE --out=DIR

Writes a blind page, DIR/rate.html, on which people say which of two
completions is better: prompts and sides are shuffled, nothing on it says who
wrote what, and it needs no network. DIR/rate-key.json, which raters should not
have, says it. The page saves a file of ratings, which is a judge:

  offalign judge --a=FILE --b=FILE --judge="ratings(file='DIR/ratings')" ...

With --ratings=FILE (or a folder with a file for each rater) and no --out, says
how far the raters agree; with --a, --b and --judge, a judge and the raters too.
"""

from collections.abc import Sequence

from absl import flags, logging

from offalign import judges, user_code
from offalign.compare import blind
from offalign.errors import UserError, speaking
from offalign.generation import completions
from offalign.generation.completions import align
from offalign.judges import ratings
from offalign.programs import flags as flags_lib
from offalign.statistics import power

_USAGE = "--a, --b and --out, or --ratings"


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Writes the page, or says how far raters agree; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    flags_lib.require(argv, (), _USAGE)
    if bool(values.ratings) == bool(values.out):
      raise UserError(f"give one of --out and --ratings: {_USAGE}")
    if values.ratings:
      for name in ("limit", "seed"):
        if values[name].present:
          raise UserError(f"--{name} is for --out; leave it out")
      _agree(values)
    else:
      if values.judge:
        raise UserError("--judge is for --ratings; leave it out")
      _write(values)
  except UserError as error:
    flags_lib.complain("offalign.rate", error)
    return 2
  return 0


def _write(values: flags.FlagValues) -> None:
  if not (values.a and values.b):
    raise UserError(f"--out needs two files of completions: {_USAGE}")
  a, b = completions.read(values.a), completions.read(values.b)
  shown, same = blind.items(a, b, limit=values.limit, seed=values.seed)
  page, key = blind.write(values.out, shown, values.seed)
  if same:
    flags_lib.say(
      f"note: {same:,} pairs are of one text twice, so they are ties and not "
      "on the page"
    )
  flags_lib.say(power.sentence(len(shown), 0.0))
  flags_lib.say(
    f"To resolve a win rate of .575 from .5 takes "
    f"{power.prompts_needed(0.075):,} pairs, and .55 "
    f"{power.prompts_needed(0.05):,}; ties make it fewer."
  )
  flags_lib.say(f"page: {page}")
  flags_lib.say(f"key, which raters should not have: {key}")


def _agree(values: flags.FlagValues) -> None:
  given = [values.a, values.b, values.judge]
  if any(given) and not all(given):
    raise UserError("to compare a judge with raters give --a, --b and --judge")
  found = ratings.read(values.ratings)
  kappas = ratings.kappas(found)
  raters = {rating.rater for rating in found}
  flags_lib.say(f"{len(found):,} ratings by {len(raters):,} raters")
  if kappas["pairs"]:
    flags_lib.say(
      f"Fleiss' kappa of {kappas['raters']} raters on {kappas['pairs']:,} "
      f"pairs: {kappas['fleiss']:.3f}"
    )
  else:
    flags_lib.say("no pair has two raters, so nothing says how they agree")
  for one, other, n, kappa in kappas["cohen"]:
    flags_lib.say(
      f"Cohen's kappa of {one or '(no name)'} and {other or '(no name)'} on "
      f"{n:,} pairs: {kappa:.3f}"
    )
  if values.judge:
    user_code.load_all(values.imports)
    a, b = completions.read(values.a), completions.read(values.b)
    i, j = align(a, b)
    prompts = [a.prompts[k] for k in i]
    first, second = [a.texts[k] for k in i], [b.texts[k] for k in j]
    said = judges.make(values.judge).compare(prompts, first, second)
    kappa, n = ratings.with_judge(found, prompts, first, second, said)
    if not n:
      raise UserError(
        f"{values.ratings} has no rating of these completions: name the files "
        "that the page was made of"
      )
    flags_lib.say(
      f"Cohen's kappa of {values.judge} and the raters' majority on {n:,} "
      f"pairs: {kappa:.3f}"
    )


def _flags() -> None:
  def text(name: str, meaning: str) -> None:
    flags.DEFINE_string(name, None, meaning)

  text("a", "a file of completions, as offalign generate writes it")
  text("b", "another, of the same prompts")
  text("out", "a folder for the page and its key")
  text("ratings", "a file of ratings, or a folder of them: says how they agree")
  text("judge", "with --ratings: a judge that is compared with the raters")
  flags.DEFINE_integer("limit", None, "so many pairs at most", lower_bound=1)
  flags.DEFINE_integer("seed", 0, "of the shuffling")
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("rate", main, __doc__, _flags)
