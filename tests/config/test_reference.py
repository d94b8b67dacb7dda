"""The option `reference`: what it can be, and what it says where it is not."""

import pytest

from offalign.config.reference import parse, refuse_without_rounds
from offalign.errors import UserError


@pytest.mark.parametrize(
  ("text", "kind", "moves", "kept"),
  [
    ("start", "start", False, 1.0),
    ("runs/sft", "run", False, 1.0),
    ("./round", "run", False, 1.0),
    ("org/name", "run", False, 1.0),
    ("round", "round", True, 0.0),
    ("ema(0.9)", "ema", True, 0.9),
    ("ema(decay=0.25)", "ema", True, 0.25),
    (" ema( 0.5 ) ", "ema", True, 0.5),
  ],
)
def test_a_choice_is_read(text, kind, moves, kept):
  choice = parse(text)
  assert (choice.kind, choice.moves, choice.kept) == (kind, moves, kept)
  assert parse(str(choice)) == choice


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    ("", "reference is empty: give start, round, ema"),
    ("ema", "reference=ema does not say how much of the old reference"),
    ("ema()", "a number between 0 and 1"),
    ("ema(0)", "of 0, write round"),
    ("ema(1)", "of 1, write start"),
    ("ema(1.5)", "a number between 0 and 1"),
    ("ema(nan)", "a number between 0 and 1"),
    ("ema(half)", "a number between 0 and 1"),
    ("ema(0.5, 2)", "a number between 0 and 1"),
    ("round(2)", "round takes no options"),
    ("start()", "start takes no options"),
  ],
)
def test_what_is_none_is_refused(text, sentence):
  with pytest.raises(UserError, match=sentence):
    parse(text)


def test_a_moving_reference_needs_rounds():
  for text in ("start", "runs/sft"):
    refuse_without_rounds(parse(text))
  for text in ("round", "ema(0.9)"):
    with pytest.raises(UserError, match="this run has no rounds"):
      refuse_without_rounds(parse(text))


def test_identities_differ_by_round_where_the_reference_moves():
  assert {parse("start").identity("w", r) for r in range(3)} == {"w"}
  moving = [
    parse(t).identity("w", r) for t in ("round", "ema(0.9)") for r in range(3)
  ]
  assert moving[0] == moving[3] == "w"
  assert len(set(moving)) == 5
