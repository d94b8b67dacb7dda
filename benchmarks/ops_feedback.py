"""What the methods of the `ops` track learn from: one table, two views.

The table is rewards [n, K] of K completions of each of n prompts. Methods
that take single trajectories see `normalised` rewards; those that take pairs
see `pairs` of the same completions.
"""

import dataclasses
from typing import Literal

import numpy as np

from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Normalised:
  """Rewards of mean 0 and variance 1 over the dataset.

  Attributes:
    rewards: [n, K], (r - mean) / scale.
    mean: of the rewards as given.
    scale: their standard deviation: one unit of tau in units of r.
  """

  rewards: np.ndarray
  mean: float
  scale: float


def normalised(rewards: np.ndarray) -> Normalised:
  """Normalises rewards [n, K], offset included, over all of the dataset.

  Raises:
    UserError: where all rewards are the same.
  """
  mean, scale = float(rewards.mean()), float(rewards.std())
  if not scale > 0:
    raise UserError(
      f"all {rewards.size} rewards are the same ({mean:g}): there is nothing "
      f"to learn from, and no scale to normalise by"
    )
  return Normalised((rewards - mean) / scale, mean, scale)


def between_share(rewards: np.ndarray) -> float:
  """The share of the reward variance that lies between prompts.

  The intraclass correlation ICC(1) of a one-way random-effects analysis of
  variance, unbiased in both parts; a little below 0 where there is none.

  Args:
    rewards: [n, K], K >= 2 completions of each prompt.
  """
  within = rewards.var(axis=1, ddof=1).mean()
  between = rewards.mean(axis=1).var(ddof=1) - within / rewards.shape[1]
  return float(between / (between + within))


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Preference pairs over a table of completions [n, K].

  Attributes:
    prompt: int [m], rows of the table.
    chosen: int [m], the column preferred.
    rejected: int [m], the other one.
    ties: how many pairs were dropped because their rewards are equal.
  """

  prompt: np.ndarray
  chosen: np.ndarray
  rejected: np.ndarray
  ties: int


def pairs(
  rewards: np.ndarray,
  labels: Literal["det", "bt"] = "det",
  rng: np.random.Generator | None = None,
) -> Pairs:
  """Pairs columns (0, 1), (2, 3), .. of each prompt, in the table's order.

  Args:
    rewards: [n, K], K even; normalised ones where labels are "bt".
    labels: "det" prefers the higher reward and drops ties. "bt" is
      Bradley-Terry: the first is preferred with probability
      sigmoid(r - r'), and a tie is a coin flip.
    rng: for "bt"; must be None for "det", which is not random.

  Raises:
    UserError: for an odd K, unknown labels, or an rng that does not fit.
  """
  n, k = rewards.shape
  if k % 2:
    raise UserError(f"pairs need an even number of completions, not {k}")
  if labels not in ("det", "bt"):
    raise UserError(f"labels must be 'det' or 'bt', not {labels!r}")
  if (rng is None) != (labels == "det"):
    need = "no random generator" if labels == "det" else "a random generator"
    raise UserError(f"labels={labels!r} takes {need}")
  prompt = np.repeat(np.arange(n), k // 2)
  first = np.tile(np.arange(0, k, 2), n)
  margin = (rewards[:, 0::2] - rewards[:, 1::2]).ravel()
  if rng is None:
    kept, won = margin != 0, margin > 0
  else:
    # tanh form of the sigmoid: no overflow at large margins.
    probability = 0.5 * (1 + np.tanh(0.5 * margin))
    kept, won = (
      np.ones(len(margin), bool),
      rng.random(len(margin)) < probability,
    )
  return Pairs(
    prompt=prompt[kept],
    chosen=(first + ~won)[kept],
    rejected=(first + won)[kept],
    ties=int((~kept).sum()),
  )
