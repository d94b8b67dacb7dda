"""Best of n by a proxy, for every n from one pool of samples."""

import dataclasses
import functools
import math

import jax
import numpy as np

from benchmarks import ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.ops_policy import Base, as_batch
from offalign.learner import Learner
from offalign.types import Batch, Params

PROMPTS, POOL = 100, 512
NS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclasses.dataclass(frozen=True)
class Pool:
  """Samples of the SFT policy on test prompts, drawn once.

  Attributes:
    prompts: [P, width], what they are of.
    distinct: the distinct completions, one a row.
    place: int [P, N], which of them each sample is.
    gold: float64 [P, N] rewards without offset.
  """

  prompts: np.ndarray
  distinct: Batch
  place: np.ndarray
  gold: np.ndarray

  def raw(self, learner: Learner, params: Params) -> np.ndarray:
    """[P, N] scores of one reward model, before any scale."""
    n = len(self.distinct.prompts)
    size = min(sizes.CHUNK, n)
    found = []
    for i in range(0, n, size):
      picked = np.arange(i, i + size) % n  # the last piece wraps: one shape
      rows = jax.tree.map(lambda x, at=picked: x[at], self.distinct)
      each = learner.reward(params, rows, None)
      found.append(np.asarray(each, np.float64)[:, 0])
    return np.concatenate(found)[:n][self.place]


def draw(base: Base, prompts: int = PROMPTS, each: int = POOL) -> Pool:
  """Draws the pool: `each` samples of the first test prompts."""
  world = base.setting.world
  asked = base.test.prompts[:prompts]
  repeated = np.repeat(asked, each, axis=0)
  found = ops_policy.draw(
    world, base.model, base.params, repeated, "over-optimisation, pool"
  )
  gold = world.gold_reward(repeated, found.tokens, found.mask)
  which = np.repeat(np.arange(len(asked)), each)
  keys = np.column_stack([which, np.where(found.mask, found.tokens, -1)])
  _, first, place = np.unique(
    keys, axis=0, return_index=True, return_inverse=True
  )
  rows = as_batch(
    repeated[first], found.tokens[first, None], found.mask[first, None]
  )
  shape = (len(asked), each)
  return Pool(asked, rows, place.reshape(shape), gold.reshape(shape))


@functools.cache
def ways(pool: int, n: int) -> np.ndarray:
  """[N]: how likely the i-th lowest of N is the highest of n drawn of them.

  Without replacement, C(i - 1, n - 1) / C(N, n): the estimate of the best of n
  is unbiased, and of less variance than that of one draw of n.
  """
  total = math.comb(pool, n)
  return np.array([math.comb(i, n - 1) / total for i in range(pool)])


def curve(scores: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
  """The expected value of the best of n by score, for each prompt.

  Args:
    scores: [P, N]; equal scores are of the same completion, or their order is
      that of the pool.
    values: [P, N], what is asked of the one that is chosen.
    n: at most N.

  Returns:
    [P].
  """
  order = np.argsort(scores, axis=1, kind="stable")
  ranked = np.take_along_axis(values, order, axis=1)
  return np.asarray(ranked @ ways(scores.shape[1], n))


def kl_with_ties(scores: np.ndarray, n: int) -> float:
  """Estimates KL(best of n || policy) where draws can be the same completion.

  With F the share of the pool of at most a completion's score and F- of a
  lower one, it is chosen with P = F^n - F-^n and drawn with p = F - F-, and
  the KL is the sum of P log(P / p). A completion that the pool has once counts
  as one without ties. The pool's finite size makes it too small where n is
  near it.

  Args:
    scores: [P, N]; equal ones are of the same completion, but for chance.
    n: of the best of n.
  """
  found = [_kl(row, n) for row in scores]
  return float(np.mean(found))


def _kl(scores: np.ndarray, n: int) -> float:
  if n == 1:
    return 0.0
  _, counts = np.unique(scores, return_counts=True)
  high = np.cumsum(counts) / len(scores)
  low = np.maximum(high - counts / len(scores), 0.0)
  mass = high**n - low**n
  with np.errstate(divide="ignore", invalid="ignore"):
    atoms = np.where(mass > 0, mass * np.log(mass / (high - low)), 0.0)
  alone = _smooth(high, n) - _smooth(low, n)
  return float(np.where(counts > 1, atoms, alone).sum())


def _smooth(u: np.ndarray, n: int) -> np.ndarray:
  """The integral from 0 to u of n v^(n-1) log(n v^(n-1))."""
  safe = np.maximum(u, 1e-300)
  return np.where(
    u > 0, u**n * (math.log(n) + (n - 1) * (np.log(safe) - 1 / n)), 0.0
  )
