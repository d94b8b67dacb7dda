import numpy as np
import pytest

from offalign.leaderboard.report import placement


def boxes_overlap(a, b, size_a, size_b):
  return bool(np.all(np.abs(a - b) < (size_a + size_b) / 2))


def test_thirteen_crowded_labels_do_not_overlap():
  rng = np.random.default_rng(3)
  anchors = rng.normal((600.0, 350.0), (110.0, 60.0), (13, 2))
  sizes = np.stack([rng.uniform(80, 200, 13), np.full(13, 14.0)], axis=1)
  bounds = (80.0, 50.0, 1280.0, 850.0)
  owners = np.arange(13)
  centres = placement.place(anchors, sizes, anchors, owners, bounds)
  for i in range(13):
    low, high = centres[i] - sizes[i] / 2, centres[i] + sizes[i] / 2
    assert np.all(low >= bounds[:2])
    assert np.all(high <= bounds[2:])
    covered = np.all(np.abs(anchors - centres[i]) < sizes[i] / 2, axis=1)
    assert not covered.any()
    for j in range(i):
      assert not boxes_overlap(centres[i], centres[j], sizes[i], sizes[j])


def test_a_lone_label_stays_beside_its_point():
  anchor = np.array([[100.0, 100.0]])
  size = np.array([[60.0, 12.0]])
  (centre,) = placement.place(
    anchor, size, anchor, np.array([0]), (0.0, 0.0, 300.0, 300.0)
  )
  gap = np.maximum(np.abs(centre - anchor[0]) - size[0] / 2, 0.0)
  assert np.hypot(*gap) < 12.0


@pytest.mark.parametrize("count", [1, 2, 13])
def test_spread_keeps_gap_order_and_bounds(count):
  wanted = np.random.default_rng(count).uniform(0.0, 100.0, count)
  placed = placement.spread(list(wanted), 5.0, 0.0, 100.0)
  assert np.all(np.argsort(placed) == np.argsort(wanted))
  assert np.all(np.diff(np.sort(placed)) >= 5.0 - 1e-9)
  assert min(placed) >= -1e-9
  assert max(placed) <= 100.0 + 1e-9


def test_spread_moves_nothing_that_has_room():
  assert placement.spread([30.0, 10.0, 20.0], 5.0, 0.0, 100.0) == [30, 10, 20]


def test_spread_is_least_squares():
  # Three equal wishes: the middle one stays, the others move apart.
  placed = placement.spread([50.0, 50.0, 50.0], 4.0, 0.0, 100.0)
  assert placed == pytest.approx([46.0, 50.0, 54.0])


def test_spread_shares_an_interval_that_is_too_small():
  assert placement.spread([1.0] * 3, 9.0, 0.0, 4.0) == pytest.approx([0, 2, 4])
