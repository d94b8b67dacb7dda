import dataclasses

import comparisons

from offalign.compare import plots


def test_a_line_for_each_policy_in_two_widths():
  found = comparisons.comparison()
  drawn = plots.forest(found)
  assert drawn.count("<svg") >= 2
  assert "kto" in drawn
  assert "<script" not in drawn
  assert "at equal lengths" in drawn
  assert plots.forest(found) == drawn


def test_without_a_verdict_there_is_no_plot():
  found = comparisons.comparison()
  entries = tuple(dataclasses.replace(e, duel=None) for e in found.entries)
  assert plots.forest(dataclasses.replace(found, entries=entries)) == ""
