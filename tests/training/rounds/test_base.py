"""The one round of a run that trains on a log."""

import types

import numpy as np

from offalign.data import Sampler
from offalign.training.rounds.base import Once


def test_a_log_is_one_round_whatever_the_step():
  counts = np.arange(10)
  data = types.SimpleNamespace(
    train=types.SimpleNamespace(count_tokens=lambda i: int(counts[i].sum()))
  )
  sampler = Sampler(10, 5, seed=3)
  once = Once(data, sampler)
  assert [once.begins(step) for step in (1, 2, 7)] == [True, False, False]
  assert once.enter(1, None) == once.enter(7, None)
  found = once.enter(7, None)
  assert found.data is once.held is data
  assert found.sampler is sampler
  assert once.evaluate(4, None) == found.metrics == {}
  # Two steps of five are all ten rows, 0 + 1 + ... + 9.
  assert (once.count_tokens(2), once.count_tokens(4)) == (45, 90)
