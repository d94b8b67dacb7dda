"""Texts that are legal but worth a look."""

import pytest

from offalign.audit.odd_texts import OddTexts


@pytest.mark.parametrize("text", ["a\0b", "\x1b[2J", "x\u202e", "\x7f"])
def test_control_characters_are_named_with_their_place(text):
  odd = OddTexts()
  odd.prompt(text, "row 1")
  odd.completion(text, "row 2")
  odd.completion("two\tlines\n of é", "row 3")
  assert odd.count("control_characters") == 2
  (found,) = [f for f in odd.findings() if f.kind == "control_characters"]
  assert (found.severity, found.count) == ("note", 2)
