import math

import numpy as np
import pytest

from offalign.compare.scores import mean_score


def test_the_interval_is_two_standard_errors():
  found = mean_score(np.array([1.0, 2.0, 3.0, 6.0]))
  half = 1.959964 * math.sqrt(14 / 3) / 2
  assert found.mean == 3.0
  assert (found.low, found.high) == pytest.approx((3 - half, 3 + half))


def test_one_prompt_has_no_interval():
  found = mean_score(np.array([1.5]))
  assert found.mean == 1.5
  assert math.isnan(found.low)
  assert math.isnan(found.high)
