"""How refits of the reward model are spelled, and when they are due."""

import pytest

from offalign.config.refit import Refit, parse
from offalign.errors import UserError


def test_the_spec_and_the_borders():
  assert parse("refit(judge='a.py:f', every=2)") == Refit("a.py:f", every=2)
  assert [Refit("a", every=2).before(n) for n in range(1, 7)] == [
    None,
    None,
    3,
    3,
    5,
    5,
  ]
  for spec, why in (
    ("refit(steps=2)", "refit needs a judge"),
    ("refit(judge='a', replay=1)", "replay must be from 0 to below 1"),
    ("refit(judge='a', pairs=0)", "pairs must be at least 1, not 0"),
    ("again(judge='a')", "'again' is no refit"),
    ("refit(judge='a', step=2)", "step"),
  ):
    with pytest.raises(UserError, match=why):
      parse(spec)
