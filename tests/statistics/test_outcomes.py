"""Outcomes are read back as they were."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offalign.statistics import outcomes
from offalign.statistics.outcomes import decode, encode, prompt_id, prompt_set


def test_the_examples_hold():
  assert doctest.testmod(outcomes).failed == 0


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, float("nan"), 0.25])))
def test_outcomes_are_read_back(values):
  stored = encode(values)
  assert isinstance(stored, list) == (0.25 in values)
  np.testing.assert_array_equal(decode(stored), values)


def test_numbers_are_kept_to_four_digits():
  assert encode([1 / 3]) == [0.3333]


def test_another_letter_is_refused():
  with pytest.raises(ValueError, match="'x' is none of"):
    decode("wx")


def test_digests_name_prompts_in_their_order():
  turns = (("user", "Hi"),)
  assert prompt_id("a") == prompt_id("a") != prompt_id("b")
  assert prompt_id(turns) == prompt_id([["user", "Hi"]])
  assert prompt_set("ab") != prompt_set("ba")
  assert prompt_set("ab") == prompt_set(["a", "b"])
