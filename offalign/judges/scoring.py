"""Score completions: completions and a function -> rows with rewards.

The rows are data to train on, which closes the circle: generate, score, train.
"""

import json
import math
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from offalign.generation import completions
from offalign.generation.completions import Completions, Prompt
from offalign.judges import scorers
from offalign.judges.gold import Gold

_UNUSABLE = ("malformed", "refused")
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


def by_spec(
  found: Completions, spec: str, folder: str | pathlib.Path | None = None
) -> tuple[np.ndarray, dict[str, int]]:
  """Scores completions by the spec of a judge; see `scorers.make`.

  Returns:
    float64 [n], NaN where an endpoint gives no number; and the judge's counts.
  """
  return scorers.make(spec, folder).counted(_pairs(found), scorers.unwatched)


def notes(scores: np.ndarray, counts: Mapping[str, int]) -> list[str]:
  """What is to be said of scores, a sentence each.

  Args:
    scores: [n], NaN where there is none.
    counts: as the scorer gave them.
  """
  said = [
    f"{counts[what]:,} {what.removeprefix('cut_')} are read only as far as the "
    "reward model's own limits go"
    for what in ("cut_prompts", "cut_completions")
    if counts.get(what)
  ]
  missing = int(np.isnan(scores).sum())
  if missing:
    said.append(
      f"{missing:,} of {scores.size:,} completions have no score "
      f"({why_missing(counts)})"
    )
  if "calls" in counts:
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    said.append(
      f"the endpoint was called {counts['calls']:,} times, for {tokens:,} "
      f"tokens; {counts['cached']:,} answers were known already"
    )
  return said


def why_missing(counts: Mapping[str, int]) -> str:
  """Why scores are missing, as in "answers malformed: 2, refused: 1"."""
  said = [f"{n}: {counts[n]:,}" for n in _UNUSABLE if counts.get(n)]
  cut = counts.get("cut_answers", 0)
  if cut:
    said[0] += f" ({cut:,} of them cut by max_tokens)"
  return f"answers {', '.join(said)}"


def rows(found: Completions, rewards: np.ndarray) -> Iterator[str]:
  """Yields a line of JSON for each completion, with its reward.

  A completion of a conversation is written as a list of one message, as data
  to train on is.

  Args:
    found: n prompts and completions.
    rewards: [n]; NaN, of a completion without a number, is written as null.
  """
  ends = found.ends or (completions.End(),) * len(found.texts)
  for prompt, text, end, reward in zip(
    found.prompts, found.texts, ends, rewards.tolist(), strict=True
  ):
    row = json.loads(completions.line(prompt, text))
    if not isinstance(prompt, str):
      row["completion"] = [{"role": "assistant", "content": text}]
    about = completions.about(end, with_tokens=True)
    known = reward if math.isfinite(reward) else None
    yield json.dumps(row | {"reward": known} | about)


def _pairs(found: Completions) -> list[tuple[Prompt, str]]:
  return list(zip(found.prompts, found.texts, strict=True))
