"""What a judge is: it says which of two completions of a prompt is better."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from offalign.errors import UserError
from offalign.generation.completions import Prompt


@dataclasses.dataclass(frozen=True)
class Verdicts:
  """What a judge said of N comparisons.

  Attributes:
    preferences: float64 [N] in [0, 1]: 1 where the first completion is
      better, 0 where the second is, 1/2 for a tie; NaN where there is no
      verdict, which is never a tie.
    counts: what happened, name -> number; see the judge. All have "ties".
    scores: float64 [2, N], what the judge gives each first and each second
      completion; None of a judge that only compares.
  """

  preferences: np.ndarray
  counts: Mapping[str, int]
  scores: np.ndarray | None = None


class Judge(Protocol):
  """Anything that compares."""

  @property
  def spec(self) -> str:
    """What it is, as `judges.make` reads it; never holds a key."""
    ...

  def compare(
    self, prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
  ) -> Verdicts:
    """Compares a[i] with b[i] as completions of prompts[i]."""
    ...


def as_text(prompt: Prompt) -> str:
  """A prompt as one text; of a conversation, "role: content" a turn.

  >>> as_text((("system", "Be brief."), ("user", "Hi")))
  'system: Be brief.\\n\\nuser: Hi'
  """
  if isinstance(prompt, str):
    return prompt
  return "\n\n".join(f"{role}: {content}" for role, content in prompt)


def by_scores(
  score: Callable[[list[tuple[Prompt, str]]], np.ndarray],
  prompts: Sequence[Prompt],
  a: Sequence[str],
  b: Sequence[str],
  *,
  tie: float,
) -> Verdicts:
  """Verdicts of a judge that scores each completion by itself.

  Args:
    score: distinct (prompt, completion), n of them -> [n] numbers; NaN where
      there is none, and comparisons with it have no verdict.
    prompts: N.
    a: N completions.
    b: N completions.
    tie: scores that differ by no more are a tie.
  """
  check_lengths(prompts, a, b)
  pairs = [*zip(prompts, a, strict=True), *zip(prompts, b, strict=True)]
  number = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
  scores = np.asarray(score(list(number)), np.float64)
  found = scores[[number[pair] for pair in pairs]].reshape(2, len(prompts))
  gap = found[0] - found[1]
  tied = np.abs(gap) <= tie
  preferences = np.where(tied, 0.5, gap > 0)
  preferences[np.isnan(gap)] = np.nan
  counts = {"ties": int(tied.sum()), "scored": len(number)}
  return Verdicts(preferences, counts, found)


def check_lengths(
  prompts: Sequence[Prompt], a: Sequence[str], b: Sequence[str]
) -> None:
  """Refuses columns of different lengths.

  Raises:
    UserError: where they are.
  """
  if not len(prompts) == len(a) == len(b):
    raise UserError(
      f"there are {len(prompts)} prompts, {len(a)} first and {len(b)} second "
      "completions: give one of each for every comparison"
    )
