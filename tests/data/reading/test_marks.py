from offalign.data.reading.marks import Marks, Span, content_of
from offalign.data.reading.token_text import TokenText
from offalign.data.reading.whole_message import WholeMessage


def test_a_spans_value_is_its_reward_or_its_label():
  assert Span(0, 1, reward=-2.5).value == -2.5
  assert [Span(0, 1, label=good).value for good in (True, False)] == [1.0, 0.0]
  assert not Span(0, 1, weight=2.0).rated
  assert not Marks((Span(0, 1, weight=2.0),)).has_ratings
  assert Marks(rewards=(0.0,)).has_ratings


def test_spans_are_of_what_a_message_says():
  message = WholeMessage.of("hi", {"reasoning": "they greet"})
  assert content_of(message) == "hi"
  assert content_of(TokenText(message, [1, 2])) == "hi"
  assert content_of(TokenText("hi", [1])) == "hi"
