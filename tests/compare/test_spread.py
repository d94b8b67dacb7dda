import math

import numpy as np
import pytest
from scipy import stats

from offalign.compare.spread import (
  Values,
  spread,
  t_quantile,
  values_of,
  winner,
)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.975, 0.99])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 31])
def test_quantiles_of_student_are_those_of_scipy(level, freedom):
  right = stats.t.ppf(0.5 + level / 2, freedom)
  assert t_quantile(level, freedom) == pytest.approx(right, rel=1e-9)


def test_one_seed_has_the_interval_over_prompts():
  values = np.array([[0.0, 1.0, 1.0, 0.5]])
  found = spread(values)
  error = np.std(values[0], ddof=1) / 2
  half = stats.norm.ppf(0.975) * error
  assert found.mean == 0.625
  assert found.high - found.mean == pytest.approx(half, rel=1e-6)


def test_seeds_and_prompts_both_widen_the_interval():
  values = np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
  over_seeds = stats.t.ppf(0.975, 2) * stats.sem(values.mean(axis=1))
  over_prompts = stats.norm.ppf(0.975) * stats.sem(values.mean(axis=0))
  found = spread(values)
  half = math.hypot(over_seeds, over_prompts)
  assert found.mean - found.low == pytest.approx(half, rel=1e-6)
  assert found.seeds == 3


def test_prompts_without_a_verdict_are_left_out():
  nan = math.nan
  found = spread(np.array([[1.0, nan, 0.0], [1.0, nan, nan]]))
  assert found.mean == pytest.approx((0.5 + 1.0) / 2)
  assert not math.isnan(found.low)


def test_one_value_alone_has_no_interval():
  found = spread(np.array([0.7]))
  assert found.mean == 0.7
  assert math.isnan(found.low)


def test_a_difference_beyond_chance_names_the_winner():
  rng = np.random.default_rng(0)
  low = rng.normal(0.0, 0.3, (3, 400))
  options = {
    "a": Values((0, 1, 2), low),
    "b": Values((0, 1, 2), low + rng.normal(0.5, 0.05, (3, 400))),
  }
  assert winner(options) == "b"


def test_equal_options_are_not_told_apart():
  rng = np.random.default_rng(1)
  for _ in range(20):
    options = {
      name: Values((0, 1, 2), rng.normal(0.0, 1.0, (3, 50))) for name in "abc"
    }
    assert winner(options) is None


def test_two_seeds_that_disagree_resolve_nothing():
  options = {
    "a": values_of([(0, [0.0] * 9), (1, [0.0] * 9)]),
    "b": values_of([(0, [0.1] * 9), (1, [0.9] * 9)]),
  }
  assert winner(options) is None


def test_accuracies_of_one_seed_need_their_errors_to_be_told_apart():
  def one(value, error):
    errors = None if error is None else np.array([error])
    return Values((0,), np.array([value]), errors)

  assert winner({"a": one(0.5, None), "b": one(0.9, None)}) is None
  assert winner({"a": one(0.5, 0.2), "b": one(0.9, 0.2)}) is None
  assert winner({"a": one(0.5, 0.02), "b": one(0.9, 0.02)}) == "b"


def test_one_option_and_options_without_a_common_seed_have_no_winner():
  a = Values((0,), np.zeros((1, 9)))
  b = Values((1,), np.ones((1, 9)))
  assert winner({"a": a}) is None
  assert winner({"a": a, "b": b}) is None
