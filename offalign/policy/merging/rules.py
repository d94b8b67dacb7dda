"""The rules of a merge, one tensor at a time: mean, slerp, TIES; and ema.

All sums are in float64, so that the mean of equal tensors is that tensor to
the bit; what is returned is float32.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from offalign.errors import UserError, option

_PARALLEL = 1e-6
"""Below this sine of the angle, slerp is the straight line."""


def shares(weights: Sequence[float] | None, count: int) -> list[float]:
  """Divides weights by their sum.

  >>> shares([1, 3], 2)
  [0.25, 0.75]

  Args:
    weights: one a run, 0 or above; None = all alike.
    count: of the runs.

  Raises:
    UserError: for another number of weights, or some that are no weights.
  """
  if weights is None:
    return [1.0 / count] * count
  if len(weights) != count:
    raise UserError(
      f"{option('weights')} are {len(weights)}, and there are {count} runs: "
      "give one for each, in their order"
    )
  if any(not math.isfinite(x) or x < 0 for x in weights) or sum(weights) <= 0:
    raise UserError(
      f"{option('weights')} are {list(weights)}: give finite numbers of 0 or "
      "above, one of them above 0"
    )
  total = math.fsum(weights)
  return [x / total for x in weights]


def ema_shares(count: int, decay: float) -> list[float]:
  """The share of each checkpoint in an exponential moving average.

  The average begins as the first checkpoint, and each further one makes it
  `decay` times what it was plus 1 - decay times the checkpoint.

  >>> ema_shares(3, 0.5)
  [0.25, 0.25, 0.5]

  Args:
    count: of the checkpoints, in the order of their steps.
    decay: above 0 and below 1.

  Raises:
    UserError: for a decay out of range.
  """
  if not 0 < decay < 1:
    raise UserError(
      f"{option('decay', decay)} must be above 0 and below 1: it is the share "
      "that what was averaged so far keeps at each checkpoint"
    )
  later = [(1 - decay) * decay ** (count - 1 - i) for i in range(1, count)]
  return [decay ** (count - 1), *later]


def mean(tensors: Iterable[np.ndarray], shares: Sequence[float]) -> np.ndarray:
  """The weighted sum of tensors, read one after another."""
  total: np.ndarray | None = None
  for tensor, share in zip(tensors, shares, strict=True):
    part = share * tensor.astype(np.float64)
    total = part if total is None else total + part
  assert total is not None
  return total.astype(np.float32)


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
  """Spherical interpolation of two tensors, each taken as one vector.

  With o the angle between a and b it is
  sin((1 - t) o) / sin(o) a + sin(t o) / sin(o) b (Shoemake 1985). Where a and
  b are parallel, or one is zero, it is the straight line (1 - t) a + t b.

  Args:
    a: any shape.
    b: likewise.
    t: 0 gives a, 1 gives b.
  """
  x, y = a.astype(np.float64), b.astype(np.float64)
  norms = float(np.linalg.norm(x)) * float(np.linalg.norm(y))
  cosine = float(np.vdot(x, y)) / norms if norms > 0 else 1.0
  angle = math.acos(min(1.0, max(-1.0, cosine)))
  sine = math.sin(angle)
  if sine < _PARALLEL:
    return ((1 - t) * x + t * y).astype(np.float32)
  made = math.sin((1 - t) * angle) * x + math.sin(t * angle) * y
  return (made / sine).astype(np.float32)


def difference(tensor: np.ndarray, base: np.ndarray) -> np.ndarray:
  """What training changed, float32: the task vector of TIES."""
  changed: np.ndarray = tensor.astype(np.float32) - base.astype(np.float32)
  return changed


def smallest_kept(
  changes: Callable[[], Iterable[np.ndarray]], density: float
) -> float:
  """The magnitude from which on a run's changes are kept by TIES.

  Exactly the k-th largest of all tensors together, k = ceil(density n), with
  one tensor in memory: the bits of a float32 of 0 or above are in its order, so
  two counts of 16 bits each find it.

  Args:
    changes: gives the tensors of `difference`, at each call anew.
    density: the share that is kept, above 0 and at most 1.
  """
  size = sum(x.size for x in changes())
  left = math.ceil(density * size)
  high = np.zeros(1 << 16, np.int64)
  for x in changes():
    high += np.bincount(_bits(x) >> 16, minlength=1 << 16)
  top, left = _last(high, left)
  low = np.zeros(1 << 16, np.int64)
  for x in changes():
    bits = _bits(x)
    inside = bits[bits >> 16 == top] & 0xFFFF
    low += np.bincount(inside, minlength=1 << 16)
  bottom, _ = _last(low, left)
  return float(np.uint32(top << 16 | bottom).view(np.float32))


def _bits(x: np.ndarray) -> np.ndarray:
  return np.abs(x).ravel().view(np.uint32).astype(np.int64)


def _last(counts: np.ndarray, left: int) -> tuple[int, int]:
  """The bin of the left-th largest, and its rank inside the bin."""
  above = np.cumsum(counts[::-1])
  place = int(np.searchsorted(above, left))
  before = int(above[place - 1]) if place else 0
  return len(counts) - 1 - place, left - before


def ties(
  base: np.ndarray,
  tensors: Iterable[np.ndarray],
  *,
  shares: Sequence[float],
  kept_from: Sequence[float],
  scale: float,
) -> np.ndarray:
  """TIES-Merging of one tensor (arXiv:2306.01708): trim, elect sign, merge.

  Args:
    base: what the runs' changes are counted from.
    tensors: one a run.
    shares: how much each run counts, in the sign's election and in the mean.
    kept_from: of each run, the magnitude of `smallest_kept`; smaller changes
      are 0.
    scale: the merged change is multiplied by it; the paper's lambda.
  """
  shape = base.shape
  up, down, ups, downs = (np.zeros(shape, np.float64) for _ in range(4))
  for tensor, share, least in zip(tensors, shares, kept_from, strict=True):
    change = difference(tensor, base).astype(np.float64)
    change = np.where(np.abs(change) >= least, change, 0.0)
    up += share * np.maximum(change, 0)
    down += share * np.minimum(change, 0)
    ups += share * (change > 0)
    downs += share * (change < 0)
  sign = np.sign(up + down)
  total = np.where(sign > 0, up, np.where(sign < 0, down, 0.0))
  by = np.where(sign > 0, ups, np.where(sign < 0, downs, 1.0))
  merged = base.astype(np.float64) + scale * total / by
  return merged.astype(np.float32)
