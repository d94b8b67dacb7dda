"""What a cell holds, in words."""

import math

import pytest

from offalign.data.reading.faults import Fault, describe, is_empty, text


@pytest.mark.parametrize(
  ("value", "empty", "words"),
  [
    (None, True, "null"),
    ("", True, "the text ''"),
    (" [] ", True, "the text ' [] '"),
    ([], True, "a list"),
    ({}, True, "an object"),
    (0, False, "the number 0"),
    (False, False, "the boolean false"),
    ("x", False, "the text 'x'"),
    ([None], False, "a list"),
    (b"x", False, "bytes"),
    (math.nan, True, "the number nan"),
  ],
)
def test_what_a_value_is(value, empty, words):
  assert is_empty(value) is empty
  assert describe(value) == words
  if not isinstance(value, str):
    with pytest.raises(Fault, match="where text belongs"):
      text(value)


def test_half_a_surrogate_pair_is_no_text():
  assert text("é😀") == "é😀"
  with pytest.raises(Fault, match=r"surrogate pair, .* at character 1"):
    text("é\ud83d")
