"""A text is cut at the first stop, however it comes in pieces."""

import hypothesis
import hypothesis.strategies as st
import pytest

from offalign.serving.stops import Stops

TEXT = st.text("ab\n", max_size=12)


def streamed(stops, pieces):
  cut = Stops(stops)
  shown = [cut.add(piece) for piece in pieces]
  return "".join(shown) + cut.add("", last=True), cut.found


@hypothesis.given(
  st.lists(TEXT, max_size=6),
  st.lists(st.text("ab\n", min_size=1, max_size=3), max_size=3),
)
def test_pieces_change_nothing(pieces, stops):
  whole = "".join(pieces)
  # The first to be whole, as it comes token by token.
  ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
  shown, found = streamed(stops, pieces)
  assert found == bool(ends)
  if not ends:
    assert shown == whole
  else:
    assert whole.startswith(shown)
    assert not any(stop in shown for stop in stops)


@pytest.mark.parametrize(
  ("stops", "pieces", "shown"),
  [
    (["END"], ["an E", "ND"], "an "),
    (["END"], ["an E", "nd"], "an End"),
    (["\n"], ["a\nb"], "a"),
    (["ab", "b"], ["xa", "b"], "x"),
    ([], ["a", "b"], "ab"),
  ],
)
def test_texts(stops, pieces, shown):
  assert streamed(stops, pieces)[0] == shown


def test_nothing_comes_after_the_stop():
  stops = Stops(["x"])
  assert stops.add("ax") == "a"
  assert stops.add("b", last=True) == ""
