"""Win rates of policies: how often one's completions are preferred."""

from collections.abc import Iterable, Sequence
from typing import Any

from offalign import judges
from offalign.errors import UserError
from offalign.generation.completions import (
  Completions,
  End,
  Prompt,
  ends_of,
)
from offalign.judges.base import Judge
from offalign.judges.contest import duel, warnings
from offalign.judges.gold import Gold, Score
from offalign.judges.win_rates import FOLDS, WinRate
from offalign.policy.policy import BATCH, Policy, conversations


def win_rates(
  policy: Policy | Sequence[str],
  other: Policy | Sequence[str],
  prompts: Iterable[Any],
  *,
  judge: Score | Judge | str,
  max_new_tokens: int | None = None,
  temperature: float = 1.0,
  seed: int = 0,
  batch_size: int = BATCH,
  folds: int = FOLDS,
) -> WinRate:
  """How often a policy is preferred to another on the same prompts.

  Args:
    policy: completes the prompts; or its completions, one a prompt.
    other: the other side, in any of these forms too.
    prompts: texts or conversations, see `Policy.generate`.
    judge: a function (prompt's text, completion) -> a number, higher is
      better; a spec that `judges.make` reads; or a judge.
    max_new_tokens: see `Policy.generate`.
    temperature: see `Policy.generate`.
    seed: see `Policy.generate`.
    batch_size: prompts at a time.
    folds: disjoint parts of the prompts, each with its own rate.

  Returns:
    The rate of `policy`, ties 1/2, with its 95% interval, its folds, the rate
    at equal lengths, and how many completions of either side did not end.

  Raises:
    UserError: for what is no judge, completions that are not one a prompt,
      or where the judge gave no verdict.
  """
  made = _judge(judge)
  asked = tuple(conversations(prompts))

  def of(side: Policy | Sequence[str], name: str) -> Completions:
    texts, ends = _texts(side, name, asked, drawing)
    return Completions(name, asked, texts, ends)

  drawing: dict[str, Any] = {
    "max_new_tokens": max_new_tokens,
    "temperature": temperature,
    "seed": seed,
    "batch_size": batch_size,
  }
  found = duel(made, of(policy, "policy"), of(other, "other"), folds)
  if found.found is None:
    why = " ".join(warnings([found]))
    raise UserError(f"the judge gave no verdict, so there is no rate. {why}")
  return found.found


def _judge(judge: Any) -> Judge:
  if isinstance(judge, str):
    return judges.make(judge)
  if hasattr(judge, "compare"):
    made: Judge = judge
    return made
  if callable(judge):
    return Gold.of(judge)
  raise UserError(
    f"judge is {judge!r}: give a function (prompt, completion) -> number, or a "
    "spec such as \"reward_model(run='runs/rm')\""
  )


def _texts(
  side: Policy | Sequence[str],
  name: str,
  prompts: tuple[Prompt, ...],
  drawing: dict[str, Any],
) -> tuple[tuple[str, ...], tuple[End, ...]]:
  made: Sequence[Any] = ()
  if isinstance(side, Policy):
    made = side.generate(prompts, **drawing)
  elif not isinstance(side, str):
    made = side  # what `generate` returned will do as well
  if len(made) != len(prompts):
    raise UserError(
      f"{name} is neither a Policy nor a list of one completion for each of "
      f"the {len(prompts)} prompts"
    )
  return tuple(map(str, made)), ends_of(made)
