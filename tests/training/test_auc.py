"""The AUC of implicit rewards, against Mann and Whitney's U and by coverage."""

import numpy as np
import pytest

from offalign.training.auc import auc

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 7), (40, 25)])
@pytest.mark.parametrize("ties", [False, True])
def test_it_is_u_over_the_number_of_pairs(m, n, ties):
  random = np.random.default_rng([m, n])
  good, bad = random.normal(0.5, 1, m), random.normal(0, 1, n)
  if ties:
    good, bad = good.round(), bad.round()
  found = auc(good, bad)
  u = stats.mannwhitneyu(good, bad).statistic
  assert found.value == pytest.approx(u / (m * n), abs=1e-12)
  assert 0 <= found.low <= found.value <= found.high <= 1
  assert (found.good, found.bad) == (m, n)


def test_few_rows_are_never_sure():
  found = auc(np.array([1.0, 2.0]), np.array([0.0, -1.0, 0.5]))
  assert found.value == found.high == 1.0
  assert found.low < 0.5
  assert str(found) == f"1.000 [{found.low:.3f}, 1.000]"


def test_the_interval_holds_the_truth_as_often_as_it_says():
  """Of two normal distributions one apart, whose AUC is Phi(1/sqrt(2))."""
  truth = stats.norm.cdf(2**-0.5)
  random = np.random.default_rng(0)
  held = 0
  for _ in range(1000):
    found = auc(random.normal(1, 1, 20), random.normal(0, 1, 30))
    held += found.low <= truth <= found.high
  assert 0.93 <= held / 1000 <= 0.985
