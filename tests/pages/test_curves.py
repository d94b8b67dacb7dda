"""Curves by step."""

import math

from offalign.pages import curves


def test_curves_leave_out_what_is_not_finite():
  lines = {"a": [(0, 1.0), (1, math.nan), (2, 0.5)], "b": [(0, math.inf)]}
  drawn = curves.curves(lines, "loss", "A caption.", mark=0.5)
  assert "A caption." in drawn
  assert "</svg>a</li>" in drawn
  assert "</svg>b</li>" not in drawn
  assert curves.curves({"b": [(0, math.inf)]}, "loss", "x") == ""
  assert curves.curves({}, "loss", "x") == ""
