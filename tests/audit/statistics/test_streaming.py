import numpy as np
import pytest
from scipy import stats

from offalign.audit.statistics import streaming


def test_moments_of_numbers_far_from_zero():
  numbers = 1e9 + np.random.default_rng(5).normal(size=10_000)
  found = streaming.Moments()
  for block in np.array_split(numbers, 7):
    found.add(block)
  # 1e9 has 16 digits, of which squares about 0 would lose all.
  assert found.std == pytest.approx(numbers.std(), rel=1e-6)


def test_a_sample_is_uniform_and_of_bounded_size(monkeypatch):
  monkeypatch.setattr(streaming, "SAMPLE", 1000)
  sample = streaming.Sample(np.dtype("i8"))
  for block in np.array_split(np.arange(40_000), 23):
    sample.add(block)
  assert len(sample.rows) == 1000
  assert not sample.exact
  assert len(set(sample.rows.tolist())) == 1000
  assert stats.kstest(sample.rows / 40_000, "uniform").pvalue > 1e-3
