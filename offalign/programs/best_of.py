"""The flags --best_of, --score and --select of `offalign generate`."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from offalign.data.reading.records import count
from offalign.errors import UserError, printable
from offalign.files import write_atomically
from offalign.generation import best_of, completions
from offalign.generation.completions import Prompt
from offalign.judges import scorers, scoring
from offalign.policy.policy import Policy
from offalign.programs import flags as flags_lib


def define() -> None:
  """Defines the flags."""
  flags.DEFINE_integer(
    "best_of",
    None,
    "draw so many completions of each prompt, and keep the one that --score "
    "gives most",
    lower_bound=2,
  )
  flags.DEFINE_string(
    "score",
    None,
    "of --best_of: my_file.py:function, gold(...), reward_model(...), of one "
    "run or of an ensemble, or endpoint(...)",
  )
  flags.DEFINE_string(
    "select",
    best_of.BEST,
    "of --best_of: best, or random, the control that does not look at scores",
  )


def wanted(values: flags.FlagValues) -> bool:
  """Whether the best of n is asked for.

  Raises:
    UserError: for flags that do not go together.
  """
  if values.best_of is None:
    for name in ("score", "select"):
      if values[name].present:
        raise UserError(f"--{name} is for --best_of; leave it out")
    return False
  if not values.score:
    raise UserError(
      "--best_of needs --score: my_file.py:function, or "
      "\"reward_model(run='DIR')\""
    )
  if values.select not in (best_of.BEST, best_of.RANDOM):
    raise UserError(
      f"--select={values.select} is none of {best_of.BEST} and {best_of.RANDOM}"
    )
  if values["samples"].present:
    raise UserError("--best_of says how many are drawn; leave --samples out")
  if "tokens" in values and values.tokens:
    raise UserError(
      "--tokens is not for --best_of: the chosen completions are not drawn as "
      "their log-probs say; leave it out"
    )
  if values.temperature == 0:
    raise UserError(
      f"--best_of={values.best_of} at --temperature=0 chooses among copies of "
      "one completion; raise the temperature"
    )
  return True


def generate(
  policy: Policy,
  asked: Sequence[Prompt],
  values: flags.FlagValues,
  drawing: dict[str, Any],
) -> None:
  """Draws, scores, chooses, and prints or writes what is chosen.

  A line of the file has "score", the chosen completion's, and "scores", those
  of all that were drawn.

  Args:
    policy: what draws.
    asked: the prompts.
    values: the flags.
    drawing: options of `Policy.generate`.

  Raises:
    UserError: for a score that cannot be had.
  """
  n = values.best_of
  out = None if values.out is None else pathlib.Path(values.out)
  score = scorers.make(values.score, out and out.parent)
  done = policy.generate(
    asked, verbose=values.out is not None, **{**drawing, "samples": n}
  )
  pairs = [(asked[i // n], x.text) for i, x in enumerate(done)]
  # What compares them compares all that were drawn: a copy is a tie.
  distinct = list(dict.fromkeys(pairs)) if score.alone else pairs
  known, counts = score.counted(distinct, scorers.unwatched)
  of_pair = dict(zip(distinct, np.asarray(known, np.float64), strict=True))
  scores = np.array([of_pair[pair] for pair in pairs]).reshape(len(asked), n)
  chosen = best_of.choose(scores, values.select, values.seed)
  kept = [done[i * n + int(k)] for i, k in enumerate(chosen.places)]
  if out is None:
    for prompt, x in zip(asked, kept, strict=True):
      if len(asked) > 1:
        said = prompt if isinstance(prompt, str) else prompt[-1][1]
        print(f"> {printable(said)}")
      print(printable(x.text))
    flags_lib.complain("offalign.generate", chosen.summary())
    return
  lines = [
    completions.line(
      prompt,
      x.text,
      **completions.about(x),
      score=_known(of_all[place]),
      scores=[_known(x) for x in of_all],
    )
    for prompt, x, of_all, place in zip(
      asked, kept, scores, chosen.places, strict=True
    )
  ]
  out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(out, "".join(f"{line}\n" for line in lines))
  for note in scoring.notes(scores, counts):
    flags_lib.say(f"note: {note}")
  flags_lib.say(
    f"wrote {count(len(kept), 'completion')} of {values.run} at step "
    f"{policy.step} to {values.out}"
  )
  flags_lib.say(chosen.summary())


def _known(score: float) -> float | None:
  return None if np.isnan(score) else float(score)
