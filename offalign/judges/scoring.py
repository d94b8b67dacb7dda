"""Score completions: completions and a function -> rows with rewards.

The rows are data to train on, which closes the circle: generate, score, train.
"""

import json
import pathlib
from collections.abc import Callable, Iterator

import numpy as np

from offalign import judges
from offalign.errors import UserError
from offalign.generation import completions
from offalign.generation.completions import Completions, Prompt
from offalign.judges.gold import Gold
from offalign.judges.reward_model import RewardModelJudge

Scorer = Callable[[list[tuple[Prompt, str]]], tuple[np.ndarray, dict[str, int]]]
"""Pairs of prompt and completion -> numbers, and how many were cut."""

_BATCH = 16  # completions that a reward model scores at a time


def by_function(found: Completions, fn: str) -> np.ndarray:
  """Scores completions by a function of the user's.

  Args:
    found: n prompts and completions.
    fn: "my_file.py:function" or "package.module:function"; it is run, so name
      only code that you mean to run. It takes the prompt's text and the
      completion's, and returns a finite number.

  Returns:
    float64 [n].

  Raises:
    UserError: where there is no such function, or it fails.
  """
  return Gold(fn).scores(_pairs(found))


def by_reward_model(
  found: Completions, run: str, step: str = "newest"
) -> tuple[np.ndarray, dict[str, int]]:
  """Scores completions by a reward model that was trained here.

  Args:
    found: n prompts and completions.
    run: the run folder.
    step: of the checkpoint: "newest", "best" or a number.

  Returns:
    float32 [n], and how many texts were cut to the run's limits:
    "cut_prompts" and "cut_completions".

  Raises:
    UserError: where the run trained no reward model.
  """
  # Imported here: it brings jax, which functions do without.
  from offalign.policy.reward_model import Rewards

  model = Rewards(pathlib.Path(run), step, _BATCH)
  rewards, _, cut = model.of(_pairs(found))
  return rewards, cut


def scorer(spec: str) -> Scorer:
  """Makes what gives single completions numbers, of the spec of a judge.

  Args:
    spec: "my_file.py:function", "gold(...)" or "reward_model(...)", of one run
      or of an ensemble; see `judges.make`.

  Returns:
    (prompt, completion) pairs, n of them -> numbers [n], and how many texts
    were cut to a run's limits.

  Raises:
    UserError: for a judge that only compares.
  """
  judge = judges.make(spec)
  if isinstance(judge, RewardModelJudge):
    return judge.scores
  if isinstance(judge, Gold):
    return lambda pairs: (judge.scores(pairs), {})
  raise UserError(
    f"the judge {judge.spec} compares two completions and gives one alone no "
    "number: choose gold(fn='my_file.py:function') or reward_model(run='DIR')"
  )


def by_spec(found: Completions, spec: str) -> tuple[np.ndarray, dict[str, int]]:
  """Scores completions by the spec of a judge; see `scorer`."""
  return scorer(spec)(_pairs(found))


def rows(found: Completions, rewards: np.ndarray) -> Iterator[str]:
  """Yields a line of JSON for each completion, with its reward.

  A completion of a conversation is written as a list of one message, as data
  to train on is.

  Args:
    found: n prompts and completions.
    rewards: [n].
  """
  ends = found.ends or (completions.End(),) * len(found.texts)
  for prompt, text, end, reward in zip(
    found.prompts, found.texts, ends, rewards.tolist(), strict=True
  ):
    row = json.loads(completions.line(prompt, text))
    if not isinstance(prompt, str):
      row["completion"] = [{"role": "assistant", "content": text}]
    about = completions.about(end, with_tokens=True)
    yield json.dumps(row | {"reward": reward} | about)


def _pairs(found: Completions) -> list[tuple[Prompt, str]]:
  return list(zip(found.prompts, found.texts, strict=True))
