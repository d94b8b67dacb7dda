"""Texts and pairs that are legal but worth a look."""

import pytest

from offalign.audit import AuditConfig, audit
from offalign.audit.checks.odd_texts import OddTexts


def pair(i, **more):
  return {"prompt": f"Q{i}", "chosen": "good", "rejected": "bad"} | more


def findings(put, rows):
  report = audit(put(rows), AuditConfig(methods=False))
  return {f.kind: f for f in report.findings}


def test_margins_that_a_run_may_refuse_are_named(put):
  scored = {"score_chosen": 5.0, "score_rejected": 1.0}
  found = findings(
    put, [pair(0, margin=4.0, **scored), pair(1, margin=2.0, **scored)]
  )
  (place,) = found["contrary_margins"].where
  assert place.endswith("row 1: margin 2, scores 5 and 1")
  assert "missing_margins" not in found
  found = findings(put, [pair(0, margin=-4.0), pair(1), pair(2, margin=1.0)])
  assert "row 0: -4" in found["negative_margins"].where[0]
  assert "row 1" in found["missing_margins"].where[0]
  found = findings(put, [pair(0), pair(1)])
  assert not {k for k in found if k.endswith("margins")}


@pytest.mark.parametrize("text", ["a\0b", "\x1b[2J", "x\u202e", "\x7f"])
def test_control_characters_are_named_with_their_place(text):
  odd = OddTexts()
  odd.prompt(text, "row 1")
  odd.completion(text, "row 2")
  odd.completion("two\tlines\n of é", "row 3")
  assert odd.count("control_characters") == 2
  (found,) = [f for f in odd.findings() if f.kind == "control_characters"]
  assert (found.severity, found.count) == ("note", 2)
