"""The rules of a merge against numpy in float64."""

import math

import numpy as np
import pytest

from offalign.errors import UserError
from offalign.policy.merging import rules


def tensors(count, shape=(5, 7), seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


def test_the_mean_is_numpys():
  found = rules.mean(tensors(3), rules.shares([3, 1, 4], 3))
  expected = np.average(np.float64(tensors(3)), axis=0, weights=[3, 1, 4])
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_the_mean_of_equal_tensors_is_that_tensor_to_the_bit(count):
  (one,) = tensors(1, (1000,))
  weights = np.random.default_rng(count).uniform(0.1, 1, count).tolist()
  for given in (None, weights):
    found = rules.mean([one] * count, rules.shares(given, count))
    np.testing.assert_array_equal(found, one)
  found = rules.mean([one] * count, rules.ema_shares(count, 0.9))
  np.testing.assert_array_equal(found, one)
  np.testing.assert_array_equal(rules.slerp(one, one, 0.3), one)


def test_ema_is_the_recursion():
  given = tensors(5)
  average = np.float64(given[0])
  for x in given[1:]:
    average = 0.8 * average + 0.2 * np.float64(x)
  found = rules.mean(given, rules.ema_shares(5, 0.8))
  np.testing.assert_allclose(found, average, rtol=1e-6)
  assert math.fsum(rules.ema_shares(5, 0.8)) == pytest.approx(1, abs=1e-15)


def test_slerp_goes_along_the_circle():
  x, y = np.float32([2, 0]), np.float32([0, 2])
  half = math.sqrt(2)
  np.testing.assert_allclose(rules.slerp(x, y, 0.5), [half, half], rtol=1e-6)
  third = rules.slerp(x, y, 1 / 3)
  np.testing.assert_allclose(third, [math.sqrt(3), 1], rtol=1e-6)
  a, b = tensors(2)
  for t, end in ((0.0, a), (1.0, b)):
    np.testing.assert_allclose(rules.slerp(a, b, t), end, rtol=1e-6)
  # Of parallel tensors, and from zero, it is the straight line.
  np.testing.assert_allclose(rules.slerp(x, 3 * x, 0.5), [4, 0], rtol=1e-6)
  np.testing.assert_allclose(rules.slerp(0 * x, y, 0.25), [0, 0.5], rtol=1e-6)


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
def test_the_smallest_kept_change_is_the_kth_of_all_tensors(density):
  changes = [*tensors(2, (40, 3)), np.zeros((9,), np.float32)]
  sizes = np.sort(np.abs(np.concatenate([x.ravel() for x in changes])))[::-1]
  k = math.ceil(density * len(sizes))
  assert rules.smallest_kept(lambda: changes, density) == sizes[k - 1]


def reference_ties(base, given, density, scale):
  """TIES as the paper's algorithm 1 writes it, over one flat vector."""
  changes = np.float64([(x - base).ravel() for x in given])
  k = math.ceil(density * changes.shape[1])
  for change in changes:
    least = np.sort(np.abs(change))[::-1][k - 1]
    change[np.abs(change) < least] = 0
  sign = np.sign(changes.sum(axis=0))
  agree = (np.sign(changes) == sign) & (changes != 0)
  count = np.maximum(agree.sum(axis=0), 1)
  merged = (changes * agree).sum(axis=0) / count
  return np.float64(base) + scale * merged.reshape(base.shape)


@pytest.mark.parametrize(("density", "scale"), [(0.2, 1.0), (0.7, 0.5)])
def test_ties_is_the_papers(density, scale):
  base, *given = tensors(4)
  kept = [
    rules.smallest_kept(lambda x=x: [rules.difference(x, base)], density)
    for x in given
  ]
  found = rules.ties(
    base, given, shares=[1 / 3] * 3, kept_from=kept, scale=scale
  )
  expected = reference_ties(base, given, density, scale)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_ties_of_changes_that_cancel_is_the_base():
  base = np.float32([1, 2])
  change = np.float32([0.5, -1])
  found = rules.ties(
    base,
    [base + change, base - change],
    shares=[0.5, 0.5],
    kept_from=[0, 0],
    scale=1,
  )
  np.testing.assert_array_equal(found, base)


@pytest.mark.parametrize(
  "weights", [[1.0], [1, -1], [0, 0], [1, math.nan], [math.inf, 1]]
)
def test_weights_that_are_none_are_refused(weights):
  with pytest.raises(UserError, match="weights are"):
    rules.shares(weights, 2)


@pytest.mark.parametrize("decay", [0, 1, -0.1, math.nan])
def test_a_decay_out_of_range_is_refused(decay):
  with pytest.raises(UserError, match=r"decay=.* must be above 0 and below 1"):
    rules.ema_shares(2, decay)
