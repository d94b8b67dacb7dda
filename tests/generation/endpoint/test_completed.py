"""Completions of an engine in the forms of the policy's own."""

from offalign.data import make_tokenizer
from offalign.generation.endpoint.choices import Choice
from offalign.generation.endpoint.completed import completed, encoded

BYTE = make_tokenizer("byte", [], None)


def test_text_alone_is_encoded_and_has_an_end_where_it_ended():
  whole = Choice("ab", None, None, True)
  cut = Choice("ab", None, None, False)
  assert encoded(whole, BYTE, "p").tolist() == [103, 104, 1]
  assert encoded(cut, BYTE, "p").tolist() == [103, 104]
  one, other = completed([whole, cut], BYTE, ["p"], knows_drawn=True)
  assert (one.tokens, other.tokens) == (3, 2)
  assert one.ids == other.ids == ()


def test_log_probs_are_those_of_drawing_or_none():
  choice = Choice("-", (103, 1), (-1.0, -2.0), True)
  (known,) = completed([choice], BYTE, ["p"], knows_drawn=True)
  assert (known.text, known.ids, known.logprobs) == (
    "a",
    (103, 1),
    (-1.0, -2.0),
  )
  (other,) = completed([choice], BYTE, ["p"], knows_drawn=False)
  assert other.logprobs is None
