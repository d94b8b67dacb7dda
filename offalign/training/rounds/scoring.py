"""What scores the samples of rounds: `grow.score`, and `grow.judge` beside."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from offalign.config import Config
from offalign.config.grow import Function, GrowConfig
from offalign.data import Prompt
from offalign.distributed import hosts
from offalign.errors import UserError, concerning, option
from offalign.judges import scorers
from offalign.judges.endpoint.asker import ANSWERS
from offalign.judges.gold import Gold
from offalign.judges.scorers import Score, Scorer, Watch, unwatched
from offalign.judges.scoring import why_missing
from offalign.training import over_optimised

HELD_SCORE, HELD_JUDGE = over_optimised.SCORE, over_optimised.JUDGE
"""The mean score of what the policy writes for held-out prompts, and of the
judge beside."""


def scorer(
  spec: str, name: str = "grow.score", folder: pathlib.Path | None = None
) -> Score:
  """The function that scores completions.

  Args:
    spec: the option `grow.score`; or, from Python, a `Function`.
    name: of the option that the spec is of.
    folder: of the run's rounds, where an endpoint's answers are kept.

  Raises:
    UserError: where it names none.
  """
  if isinstance(spec, Function):
    return Gold.of(spec.call).scores
  with concerning(option(name, spec)):
    return scorers.make(spec, folder)


def held_names(grow: GrowConfig) -> set[str]:
  """The metrics of the completions of held-out prompts, where there are any."""
  if grow.score is None or not grow.eval_prompts:
    return set()
  found = {HELD_SCORE} if is_alone(grow) else set()
  return found | ({HELD_JUDGE} if grow.judge is not None else set())


def going_by(config: Config) -> str | None:
  """The option of a run that goes by `HELD_SCORE`; None where none does."""
  if config.grow is not None and config.grow.stop is not None:
    return "grow.stop"
  return "keep_best" if config.keep_best == HELD_SCORE else None


def is_alone(grow: GrowConfig) -> bool:
  """Whether `grow.score` scores a completion without others of its prompt.

  Of held-out prompts there is one completion each.
  """
  if grow.score is None or isinstance(grow.score, Function):
    return True
  return scorers.is_alone(grow.score)


def judge(
  grow: GrowConfig,
  held: Sequence[Prompt],
  folder: pathlib.Path | None = None,
) -> Score | None:
  """The function that judges beside the score, or None.

  Args:
    grow: the options.
    held: the held-out prompts of the run.
    folder: see `scorer`.

  Raises:
    UserError: where the option names none, or one that compares completions
      of a prompt, or no prompts are held out.
  """
  if grow.judge is None:
    return None
  if not held:
    raise UserError(
      f"{option('grow.judge', grow.judge)} scores completions of held-out "
      f"prompts, and none are held out: give {option('data.eval_fraction')} "
      "above 0"
    )
  made = scorer(grow.judge, "grow.judge", folder)
  if isinstance(made, Scorer) and not made.alone:
    raise UserError(
      f"{option('grow.judge', grow.judge)} compares completions of a prompt, "
      "and each held-out prompt has one: have it rate them by themselves "
      "(rubric=default), or compare policies by a win rate "
      f"({option('select.judge')})"
    )
  return made


def probe(
  score: Score | None, prompt: Prompt, name: str = "grow.score"
) -> None:
  """Asks an endpoint two questions, to see that it is there, and answers.

  Every process calls this, and the first asks.

  Raises:
    UserError: where it is not, or gives neither a score.
  """
  if not isinstance(score, Scorer) or not score.partial:
    return

  def asked() -> dict[str, np.ndarray]:
    with concerning(option(name, score.spec)):
      # Nothing is kept: the folder of a run is not there yet.
      first = scorers.make(score.spec)
      pairs: scorers.Pairs = [(prompt, "Yes."), (prompt, "No.")]
      found, counts = first.counted(pairs, unwatched)
      if np.isnan(found).all():
        raise UserError(
          "before anything was sampled it was asked about two replies, and "
          f"gave neither a score ({why_missing(counts)}): see its question, "
          "and that the model can follow it"
        )
    return {}

  hosts.from_first(asked)


def numbers(
  score: Score, pairs: list[Any], watch: Watch, *, least: float = 0.5
) -> np.ndarray:
  """Scores of prompts and completions, float64 [n].

  NaN of one that an endpoint would not score, which is said.

  Args:
    score: what scores.
    pairs: n prompts and completions.
    watch: called now and then while an endpoint is asked.
    least: the share of them that must have a score; 0 = none.

  Raises:
    UserError: where there are no such numbers, or too many are missing.
  """
  if not isinstance(score, Scorer) or not score.partial:
    found = np.asarray(score(pairs), np.float64)
    if found.shape != (len(pairs),) or not np.isfinite(found).all():
      raise UserError("it gave no finite number for each completion")
    return found
  found, counts = score.counted(pairs, watch)
  missing = int(np.isnan(found).sum())
  if missing:
    said = (
      f"{missing:,} of {len(found):,} completions got no score "
      f"({why_missing(counts)})"
    )
    if len(found) - missing < least * len(found):
      raise UserError(
        f"{said}: see its question. These answers are kept in "
        f"rounds/{ANSWERS} of the run's folder, and are asked for again where "
        "you delete it"
      )
    hosts.say(f"{said}, and are left out")
  return found
