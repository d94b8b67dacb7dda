"""Prompts as tokens, put away and made again."""

import numpy as np
import pytest

from offalign.data.text.boundary import Laid
from offalign.data.text.laid import LaidPrompts


@pytest.mark.parametrize("spooled", [False, True])
def test_what_comes_back_is_what_was_laid(tmp_path, monkeypatch, spooled):
  if spooled:
    from offalign.data.text.spool import Spool

    monkeypatch.setattr(Spool.__init__, "__defaults__", (0,))

  def ids(*numbers):
    return np.array(numbers, np.int32)

  prompts = ["one", "two", "three", ""]
  laid = [
    Laid("one", ids(1), ids(5, 6), ids(2), "one"),
    Laid("two", ids(), ids(7), ids(2), None),
    Laid("three", ids(1), ids(), ids(), "<three>"),
    Laid("", ids(1), ids(9, 9, 9), ids(2), ""),
  ]
  made = LaidPrompts(prompts, tmp_path)
  made.add(laid[:3])
  made.add(laid[3:])
  made.seal()
  made.release()
  assert len(made) == 4
  for one, other in zip(made, laid, strict=True):
    assert (one.prompt, one.text) == (other.prompt, other.text)
    for name in ("before", "body", "after"):
      np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
