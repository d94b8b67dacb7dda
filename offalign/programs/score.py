"""offalign score --fn='my_file.py:score' --completions=FILE --out=FILE

Gives each completion of a file a reward, by a function of yours, by a reward
model (--run=RUN, a run of the loss bradley_terry), by several
(--score="reward_model(runs='A,B,C')") or by a language model
(--score="endpoint(url=..., model=..., rubric=default)"), and writes rows of
prompt, completion and reward to train on:

  offalign generate --run=RUN --prompts=p.jsonl --samples=4 --out=new.jsonl
  offalign score --fn='mine.py:score' --completions=new.jsonl --out=rated.jsonl
  offalign train --cfg.loss=dro_v --cfg.data.path=rated.jsonl --cfg.init=RUN

The function takes the prompt's text and the completion's, and returns a finite
number. It is run: name only code that you mean to run.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags, logging

from offalign import user_code
from offalign.data.reading.records import count
from offalign.errors import UserError, speaking
from offalign.files import write_atomically
from offalign.generation import completions
from offalign.judges import scoring
from offalign.programs import flags as flags_lib


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Scores; returns the exit status."""
  logging.set_verbosity(logging.WARNING)
  values = flags.FLAGS
  try:
    needed = ("completions", "out")
    usage = "--completions, --out, and --fn, --run or --score"
    flags_lib.require(argv, needed, usage)
    if sum(map(bool, (values.fn, values.run, values.score))) != 1:
      raise UserError(f"give one of --fn, --run and --score: {usage}")
    user_code.load_all(values.imports)
    found = completions.read(values.completions)
    if not values.run and values.step != "newest":
      raise UserError("--step is for --run; leave it out")
    counts: dict[str, int] = {}
    if values.fn:
      rewards = scoring.by_function(found, values.fn)
    elif values.score:
      folder = pathlib.Path(values.out).parent
      rewards, counts = scoring.by_spec(found, values.score, folder)
    else:
      rewards, counts = scoring.by_reward_model(found, values.run, values.step)
    for note in scoring.notes(rewards, counts):
      flags_lib.say(f"note: {note}")
    if np.isnan(rewards).all():
      raise UserError("no completion has a score, so nothing is written")
    out = pathlib.Path(values.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = scoring.rows(found, rewards)
    write_atomically(out, "".join(f"{line}\n" for line in lines))
  except UserError as error:
    flags_lib.complain("offalign.score", error)
    return 2
  flags_lib.say(
    f"wrote {count(len(rewards), 'row')} to {out}: reward mean "
    f"{np.nanmean(rewards):.4g}, from {np.nanmin(rewards):.4g} to "
    f"{np.nanmax(rewards):.4g}"
  )
  return 0


def _flags() -> None:
  for name, default, meaning in (
    ("completions", None, 'JSON lines with "prompt" and "completion"'),
    ("out", None, "the file to write"),
    ("fn", None, "my_file.py:function or package.module:function"),
    ("run", None, "the run folder of a reward model"),
    (
      "score",
      None,
      "my_file.py:function, gold(...), reward_model(...), of one run or of "
      "an ensemble, or endpoint(...)",
    ),
    ("step", "newest", "of its checkpoint: newest, best or a number"),
  ):
    flags.DEFINE_string(name, default, meaning)
  flags_lib.define_imports()


def run() -> None:
  """Starts the program."""
  flags_lib.start("score", main, __doc__, _flags)
