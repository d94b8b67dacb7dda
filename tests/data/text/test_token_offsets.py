"""Tokens know the characters that they spell, in any tokenizer's way."""

import numpy as np
import pytest

from offalign.data.text import token_offsets
from offalign.data.text.tokenizer import Tokenizer

TEXTS = ["the cat sat on the mat", " a🦙b  é\n", "naïve 日本", "🦙"]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_places_are_where_the_text_has_each_token(kind):
  tokenizer = Tokenizer.byte()
  if kind == "bpe":
    tokenizer = Tokenizer.bpe(TEXTS * 2, 300)
  for text in TEXTS:
    (ids,) = tokenizer.encode([text])
    said, places = token_offsets.spelled(
      [*ids.tolist(), tokenizer.eos_id], tokenizer.decode
    )
    assert said == text
    assert places[-1].tolist() == [len(text)] * 2
    for place, token in zip(places, ids, strict=False):
      own = tokenizer.decode([token])
      here = text[place[0] : place[1]]
      assert "\ufffd" in own or own == here
    # Nothing is left out, and the tokens of one character share its place.
    covered = {c for start, end in places for c in range(start, end)}
    assert covered == set(range(len(text)))
    assert (np.diff(places[:, 0]) >= 0).all()


def test_decoders_that_strip_the_first_space_lose_no_character():
  words = ["", "▁the", "▁cat", "s"]

  def decode(ids):
    return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

  said, places = token_offsets.spelled([1, 2, 3], decode)
  assert said == "the cats"
  assert places.tolist() == [[0, 3], [3, 7], [7, 8]]


@pytest.mark.parametrize(
  ("text", "said", "cut", "once", "place"),
  [
    (" hi you ", "hi you", False, False, -1),
    ("hi", "<think></think>hi", False, False, 15),
    ("hi", "ho", False, False, None),
    ("hi you", "hi y", True, False, 0),
    ("hi you", "[a] hi y", True, False, 4),
    ("hi you", "you had h", True, False, None),
    ("hi you", "hi y", False, False, None),
    ("a🦙", "a\ufffd", True, False, 0),
    ("hi", "hi hi", False, True, None),
    ("hi you", "hi y", True, True, None),
  ],
)
def test_a_text_is_found_in_what_a_template_wrote(text, said, cut, once, place):
  assert token_offsets.find(text, said, cut=cut, once=once) == place
