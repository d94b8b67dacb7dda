"""Holm against statsmodels, and how often equals are told apart."""

import doctest
import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from offalign.statistics import multiple
from offalign.statistics.differences import difference
from offalign.statistics.multiple import holm, top_set


def test_the_examples_hold():
  assert doctest.testmod(multiple).failed == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_that_of_statsmodels(p_values):
  with mock.patch("gc.collect"):  # at each call: a second in a long session
    _, theirs, _, _ = multipletests(p_values, method="holm")
  assert holm(p_values) == pytest.approx(theirs)


def test_of_no_comparison_there_is_none():
  assert holm([]) == []


def test_the_top_set_holds_who_is_not_beaten():
  names = ["a", "b", "c", "d"]
  pairs = dict.fromkeys(itertools.combinations(names, 2), 1.0)
  assert top_set(names, pairs) == ("a", "b", "c", "d")
  pairs["a", "c"] = pairs["b", "d"] = 0.01
  assert top_set(names, pairs) == ("a", "b")
  pairs["b", "d"] = 0.2
  assert top_set(names, pairs) == ("a", "b", "d")


def test_of_seventeen_equals_hardly_ever_any_is_left_out():
  rng = np.random.default_rng(0)
  left_out = 0
  for _ in range(50):
    hard = rng.random((1, 60))
    tables = [
      (hard + rng.normal(0, 0.02, (3, 1)) + rng.normal(0, 0.2, (3, 60)))
      for _ in range(17)
    ]
    order = sorted(range(17), key=lambda i: -tables[i].mean())
    pairs = list(itertools.combinations(order, 2))
    found = holm([difference(tables[i], tables[j]).p for i, j in pairs])
    names = [str(i) for i in order]
    p_values = {
      (str(i), str(j)): p for (i, j), p in zip(pairs, found, strict=True)
    }
    left_out += len(top_set(names, p_values)) < 17
  assert left_out <= 5
