"""A text with its tokens is a text to all that reads texts."""

import copy
import pickle

import numpy as np

from offalign.data.reading.token_text import TokenText


def test_it_is_a_text_and_more():
  text = TokenText("ab", [1, 2], [-0.5, -1.0])
  assert len(text) == 2
  assert text.upper() == "AB"
  assert text.logp == -1.5
  assert TokenText("ab", [1, 2]).logp is None
  assert text.ids.dtype == np.int32


def test_copies_have_the_tokens():
  text = TokenText("ab", [1, 2], [-0.5, -1.0])
  for other in (copy.copy(text), pickle.loads(pickle.dumps(text))):
    assert other == text
    assert other.logps.tolist() == [-0.5, -1.0]


def test_equality_is_of_text_and_ids():
  text = TokenText("ab", [1, 2])
  assert text == TokenText("ab", [1, 2], [-1.0, -1.0])
  assert len({text, TokenText("ab", [1, 2]), TokenText("ab", [3]), "ab"}) == 3
  assert text != "ab"
  assert repr(text) == "'ab' as [1, 2]"
