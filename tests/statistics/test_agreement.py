"""Kappas against statsmodels and published examples."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats import inter_rater

from offalign.statistics import agreement
from offalign.statistics.agreement import cohen, fleiss

# Fleiss (1971) by way of the usual worked example: 14 raters, 10 items.
TABLE = [
  [0, 0, 0, 0, 14],
  [0, 2, 6, 4, 2],
  [0, 0, 3, 5, 6],
  [0, 3, 9, 2, 0],
  [2, 2, 8, 1, 1],
  [7, 7, 0, 0, 0],
  [3, 2, 6, 3, 0],
  [2, 5, 3, 2, 2],
  [6, 5, 2, 1, 0],
  [0, 2, 2, 3, 7],
]


def test_the_examples_hold():
  assert doctest.testmod(agreement).failed == 0


def test_fleiss_is_the_worked_example():
  assert fleiss(np.array(TABLE)) == pytest.approx(0.20993, abs=1e-5)
  assert fleiss(TABLE) == pytest.approx(inter_rater.fleiss_kappa(TABLE))


@given(
  st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=40
  )
)
def test_cohen_is_that_of_statsmodels(pairs):
  a, b = zip(*pairs, strict=True)
  table = np.zeros((3, 3))
  np.add.at(table, (a, b), 1)
  if len({*a, *b}) < 2:
    assert math.isnan(cohen(a, b))
    return
  with np.errstate(invalid="ignore"):
    theirs = inter_rater.cohens_kappa(table).kappa
  assert cohen(a, b) == pytest.approx(theirs, abs=1e-12)


def test_what_cannot_be_compared_is_refused():
  with pytest.raises(ValueError, match="3 and 2 verdicts"):
    cohen("abc", "ab")
  with pytest.raises(ValueError, match="same number of raters"):
    fleiss([[1, 1], [2, 1]])
