"""Places labels so that they cover neither each other nor the data.

Everything is in pixels.
"""

from collections.abc import Sequence

import numpy as np

_ANGLES = np.arange(16) * (np.pi / 8)
_GAPS = (9.0, 16.0, 26.0, 40.0, 58.0, 80.0, 106.0, 136.0)
_SWEEPS = 8
_RESTARTS = 7
_COVERS = 20.0  # cost of a covered label, against 1 for 20 pixels of leader
_HIDES = 6.0  # of a covered piece of data
_CROSSES = 8.0  # of a leader that runs through a label or another leader
_OUTSIDE = 100.0


def place(
  anchors: np.ndarray,
  sizes: np.ndarray,
  obstacles: np.ndarray,
  owners: np.ndarray,
  bounds: tuple[float, float, float, float],
) -> np.ndarray:
  """Places one label beside each anchor.

  Each label in turn takes the cheapest of a ring of places around its
  anchor, given the others, until none moves; the best of several orders
  wins. Deterministic.

  Args:
    anchors: [N, 2] the points that are labelled.
    sizes: [N, 2] width and height of the labels.
    obstacles: [M, 2] samples of what must stay visible, anchors included.
    owners: [M] the label that may draw its leader over an obstacle; -1 for
      none.
    bounds: left, bottom, right, top that the labels should stay inside.

  Returns:
    [N, 2] the labels' centres.
  """
  count = len(anchors)
  places = [_ring(anchors[i], sizes[i]) for i in range(count)]
  fixed = [
    _fixed_cost(places[i], sizes[i], anchors[i], obstacles, owners != i, bounds)
    for i in range(count)
  ]

  def descend(order: np.ndarray) -> tuple[float, np.ndarray]:
    """Improves one label after another until none moves."""
    centres = np.full((count, 2), np.nan)
    for _ in range(_SWEEPS):
      before, total = centres.copy(), 0.0
      for i in order:
        cost = fixed[i].copy()
        for j in range(count):
          if j != i and not np.isnan(centres[j, 0]):
            cost += _mutual_cost(i, j, places[i], centres, sizes, anchors)
        best = np.argmin(cost)
        total += cost[best]
        centres[i] = places[i][best]
      if np.array_equal(before, centres):
        break
    return float(total), centres

  crowding = [np.sort(_distance(anchors, a))[:4].sum() for a in anchors]
  shuffle = np.random.default_rng(0).permutation
  orders = [np.argsort(crowding, kind="stable")]
  orders += [shuffle(count) for _ in range(_RESTARTS)]
  tries = [descend(order) for order in orders]
  return min(tries, key=lambda result: result[0])[1]


def spread(
  wanted: Sequence[float], gap: float, low: float, high: float
) -> list[float]:
  """Moves points on a line apart, as little as possible (least squares).

  Args:
    wanted: where each would like to be.
    gap: the least distance between neighbours; smaller where the interval
      has no room for it.
    low: lower end of the interval.
    high: upper end.

  Returns:
    The positions, in the order given; equal wishes keep their order.
  """
  count = len(wanted)
  if count > 1:
    gap = min(gap, (high - low) / (count - 1))
  order = sorted(range(count), key=lambda i: wanted[i])
  # Without its share of the gaps the sequence only has to be non-decreasing:
  # pool adjacent violators.
  pools: list[list[float]] = []
  for position, i in enumerate(order):
    pools.append([wanted[i] - position * gap])
    while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
      merged = pools.pop()
      pools[-1] += merged
  flat = [_mean(pool) for pool in pools for _ in pool]
  top = high - (count - 1) * gap
  placed = [0.0] * count
  for position, i in enumerate(order):
    placed[i] = min(max(flat[position], low), top) + position * gap
  return placed


def _mean(values: Sequence[float]) -> float:
  return sum(values) / len(values)


def _ring(anchor: np.ndarray, size: np.ndarray) -> np.ndarray:
  """[C, 2] centres of boxes whose near side or corner is at each gap."""
  rays = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
  side = np.clip(1.5 * rays, -1.0, 1.0) * size / 2
  return np.concatenate([anchor + side + rays * gap for gap in _GAPS])


def _distance(points: np.ndarray, point: np.ndarray) -> np.ndarray:
  return np.hypot(*(points - point).T)


def _fixed_cost(
  places: np.ndarray,
  size: np.ndarray,
  anchor: np.ndarray,
  obstacles: np.ndarray,
  foreign: np.ndarray,
  bounds: tuple[float, float, float, float],
) -> np.ndarray:
  """[C] cost of each place before the other labels are known."""
  half = size / 2
  low, high = places - half, places + half
  left, bottom, right, top = bounds
  outside = (
    (low[:, 0] < left)
    | (low[:, 1] < bottom)
    | (high[:, 0] > right)
    | (high[:, 1] > top)
  )
  offset = np.abs(obstacles[None] - places[:, None])
  hidden = np.all(offset < half + 3.0, axis=2).sum(axis=1)
  # Near its own anchor a leader cannot help running over other data.
  others = obstacles[foreign & (_distance(obstacles, anchor) > 9.0)]
  crossed = np.zeros(len(places))
  for share in (0.2, 0.4, 0.6, 0.8):
    on_leader = anchor + share * (_edge(places, size, anchor) - anchor)
    gaps = np.hypot(*np.moveaxis(others[None] - on_leader[:, None], 2, 0))
    crossed += (gaps < 5.0).any(axis=1)
  distance = _distance(places, anchor)
  return distance / 40.0 + _HIDES * hidden + 2.0 * crossed + _OUTSIDE * outside


def _edge(
  places: np.ndarray, size: np.ndarray, anchor: np.ndarray
) -> np.ndarray:
  """[C, 2] the point of each box that is nearest to the anchor."""
  return np.clip(anchor, places - size / 2, places + size / 2)


def _mutual_cost(
  i: int,
  j: int,
  places: np.ndarray,
  centres: np.ndarray,
  sizes: np.ndarray,
  anchors: np.ndarray,
) -> np.ndarray:
  """[C] cost of label i's places, given where label j is."""
  reach = (sizes[i] + sizes[j]) / 2 + 2.0
  covers = np.all(np.abs(places - centres[j]) < reach, axis=1)
  ends = _edge(places, sizes[i], anchors[i])
  other_end = _edge(centres[j][None], sizes[j], anchors[j])[0]
  crosses = _intersect(anchors[i], ends, anchors[j], other_end)
  crosses = crosses | _through(anchors[i], ends, centres[j], sizes[j])
  back = _through(anchors[j], other_end, places, sizes[i])
  return _COVERS * covers + _CROSSES * (crosses | back)


def _through(
  start: np.ndarray, ends: np.ndarray, centre: np.ndarray, size: np.ndarray
) -> np.ndarray:
  """[C] whether a segment from start enters a box: C ends, C centres or 1."""
  shares = np.linspace(0.0, 1.0, 9)[:, None, None]
  points = start + shares * (ends - start)
  return np.all(np.abs(points - centre) < size / 2 + 1.0, axis=2).any(axis=0)


def _intersect(
  a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> np.ndarray:
  """[C] whether the segments a-b[i] and c-d cross."""

  def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
    u, v = q - p, r - p
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

  apart = side(a, b, c) * side(a, b, d)
  along = side(c, d, a) * side(c, d, b)
  return (apart < 0) & (along < 0)
