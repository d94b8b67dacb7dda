"""Margins far from all others are named, and no others."""

import pytest

from offalign.audit.checks.outlying_margins import OutlyingMargins
from offalign.data import Record


def findings(margins):
  check = OutlyingMargins()
  for i, margin in enumerate(margins):
    record = Record("x", ("y", "z"), None, None, True, "f", margin=margin)
    check.see(record, f"f, row {i}", i)
  return check.findings()


@pytest.mark.parametrize("sentinel", [1e30, -1e30, -9999.0])
def test_a_margin_far_from_all_others_is_named(sentinel):
  (found,) = findings([0.5, 1.0, sentinel, 0.25, None, 0.75])
  assert (found.severity, found.count) == ("warning", 1)
  assert found.where == (f"f, row 2: {sentinel:g}",)


def test_many_are_counted_and_the_first_named():
  ordinary = [i % 7 / 7 for i in range(3000)]
  (found,) = findings([*ordinary, *[1e9] * 12])
  assert found.count == 12
  assert found.where[0] == "f, row 3000: 1e+09"
  assert len(found.where) == 10


@pytest.mark.parametrize("margins", [[], [None] * 5, [1.0, 1e9], [0, 1, 2, 9]])
def test_ordinary_margins_pass(margins):
  assert not findings(margins)
