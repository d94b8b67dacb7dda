"""Bradley-Terry strengths of several contestants from their duels."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

PRIOR = 0.5
"""Wins added to either side of a pair that met, so that every fit is finite."""
_ROUNDS = 2000


@dataclasses.dataclass(frozen=True)
class Strength:
  """A contestant on the Bradley-Terry scale.

  Attributes:
    name: the contestant's.
    value: log-odds against a contestant of mean strength: i beats j with the
      chance sigmoid(value_i - value_j).
    low: lower end of its 95% interval, by bootstrap over prompts.
    high: upper end.
  """

  name: str
  value: float
  low: float
  high: float


def bradley_terry(
  names: Sequence[str],
  outcomes: Mapping[tuple[str, str], Mapping[str, float]],
  *,
  prior: float = PRIOR,
  draws: int = 1000,
  seed: int = 0,
) -> list[Strength]:
  """Fits one strength to each contestant (Bradley and Terry, 1952).

  Ties count half a win for either side. Prompts are resampled with all their
  duels, so that what they share is in the intervals.

  Args:
    names: the contestants, two or more.
    outcomes: (a, b) -> prompt -> how far a was preferred, in [0, 1].
    prior: see `PRIOR`; 0 is maximum likelihood.
    draws: resamples of prompts.
    seed: of the resampling.

  Returns:
    The strengths in the order of `names`; they sum to 0 where all of them met,
    directly or by others.
  """
  place = {name: i for i, name in enumerate(names)}
  prompts = {p: None for met in outcomes.values() for p in met}
  number = {prompt: i for i, prompt in enumerate(prompts)}
  k, n = len(names), len(prompts)
  pairs = list(outcomes)
  won, played = np.zeros((2, len(pairs), n))
  for row, pair in enumerate(pairs):
    for prompt, share in outcomes[pair].items():
      if share == share:
        won[row, number[prompt]] = share
        played[row, number[prompt]] = 1.0
  rng = np.random.default_rng(seed)
  times = np.concatenate(
    [np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), draws)]
  )
  a_won, met = times @ won.T, times @ played.T  # [draws + 1, pairs]
  wins = np.zeros((len(times), k, k))
  for row, (a, b) in enumerate(pairs):
    i, j = place[a], place[b]
    extra = prior * (played[row].sum() > 0)
    wins[:, i, j] += a_won[:, row] + extra
    wins[:, j, i] += met[:, row] - a_won[:, row] + extra
  values = _fit(wins)
  ends = np.quantile(values[1:], [0.025, 0.975], axis=0)
  return [
    Strength(name, float(values[0, i]), float(ends[0, i]), float(ends[1, i]))
    for i, name in enumerate(names)
  ]


def _fit(wins: np.ndarray) -> np.ndarray:
  """Log-strengths [R, k] of wins [R, k, k], by Hunter's (2004) MM rounds."""
  met = wins + wins.transpose(0, 2, 1)
  total = np.maximum(wins.sum(axis=2), 1e-300)
  skill = np.ones(total.shape)
  for _ in range(_ROUNDS):
    before = skill
    paired = skill[:, :, None] + skill[:, None, :]
    skill = total / np.maximum((met / paired).sum(axis=2), 1e-300)
    skill /= np.exp(np.log(skill).mean(axis=1, keepdims=True))
    if np.abs(np.log(skill / before)).max() < 1e-10:
      break
  return np.log(skill)
