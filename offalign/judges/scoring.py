"""Score completions: completions and a function -> rows with rewards.

The rows are data to train on, which closes the circle: generate, score, train.
"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np

from offalign.generation import completions
from offalign.generation.completions import Completions, Prompt
from offalign.judges.gold import Gold

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
