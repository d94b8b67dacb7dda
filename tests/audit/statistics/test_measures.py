import math

import numpy as np
import pytest
from audit_cases import QUICK, by_prompt, rated
from scipy import stats

from offalign.audit import audit


def test_rewards_and_lengths(put, where):
  rows = rated(3)
  report = audit(put(rows), QUICK)
  rewards = np.array([r["reward"] for r in rows])
  (spread,) = report.measures.values
  words = np.array([len(r["completion"].split()) for r in rows])
  for found, numbers in ((spread, rewards), (report.measures.words[1], words)):
    assert found.n == len(numbers)
    assert found.mean == pytest.approx(numbers.mean())
    assert found.std == pytest.approx(numbers.std())
    assert (found.low, found.high) == (numbers.min(), numbers.max())
    assert found.median == np.median(numbers)
    below = sorted(numbers)[math.ceil(0.95 * len(numbers)) - 1]
    assert found.p95 == below
    counts, edges = np.histogram(numbers, 10)
    assert found.counts == tuple(counts)
    assert found.edges == pytest.approx(edges)
  expected = stats.spearmanr(words, rewards).statistic
  assert report.measures.length_correlation == pytest.approx(expected)
  x, y = [], []
  for part in by_prompt(rows).values():
    lengths = [len(r["completion"].split()) for r in part]
    values = [r["reward"] for r in part]
    x += list(lengths - np.mean(lengths))
    y += list(values - np.mean(values))
  inside = report.measures.groups.length_correlation
  assert inside == pytest.approx(np.corrcoef(x, y)[0, 1])
