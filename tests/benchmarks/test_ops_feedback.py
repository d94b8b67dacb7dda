import math

import numpy as np
import pytest

from benchmarks import ops_feedback as feedback
from offalign.errors import UserError


def test_normalised_rewards_and_their_scale():
  table = np.array([[0.0, 1.0], [3.0, 4.0]])
  out = feedback.normalised(table)
  assert (out.mean, out.scale) == (2.0, pytest.approx(math.sqrt(2.5)))
  np.testing.assert_allclose(out.rewards * out.scale + out.mean, table)
  assert out.rewards.mean() == pytest.approx(0.0)
  assert out.rewards.var() == pytest.approx(1.0)
  with pytest.raises(UserError, match="all 4 rewards are the same"):
    feedback.normalised(np.full((2, 2), 0.5))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_between_share_recovers_the_share_built_in(share):
  rng = np.random.default_rng(0)
  between = math.sqrt(share) * rng.standard_normal((20_000, 1))
  within = math.sqrt(1 - share) * rng.standard_normal((20_000, 4))
  assert feedback.between_share(between + within) == pytest.approx(
    share, abs=0.02
  )


def test_between_share_by_hand():
  # Within: variances 2 and 0, mean 1. Means 1 and 5: variance 8, less 1/2.
  table = np.array([[0.0, 2.0], [5.0, 5.0]])
  assert feedback.between_share(table) == pytest.approx(7.5 / 8.5)


def test_det_pairs_prefer_the_higher_reward_and_drop_ties():
  table = np.array([[1.0, 2.0, 5.0, 4.0], [3.0, 3.0, 0.0, 7.0]])
  out = feedback.pairs(table)
  assert out.prompt.tolist() == [0, 0, 1]
  assert out.chosen.tolist() == [1, 2, 3]
  assert out.rejected.tolist() == [0, 3, 2]
  assert out.ties == 1


def test_det_pairs_ignore_an_offset_of_the_prompt():
  rng = np.random.default_rng(0)
  table = rng.integers(0, 4, (50, 4)) / 4
  moved = (table + rng.standard_normal((50, 1))) / 0.7
  one, other = feedback.pairs(table), feedback.pairs(moved)
  np.testing.assert_array_equal(one.chosen, other.chosen)
  assert one.ties == other.ties > 0


def test_bt_pairs_prefer_with_the_probability_of_their_margin():
  table = np.tile([1.0, 0.0, 0.5, 0.5], (20_000, 1))
  out = feedback.pairs(table, "bt", np.random.default_rng(0))
  assert out.ties == 0
  assert (out.chosen // 2 == out.rejected // 2).all()
  assert (out.chosen != out.rejected).all()
  unequal = out.chosen < 2
  first = out.chosen % 2 == 0
  expected = 1 / (1 + math.exp(-1))
  assert first[unequal].mean() == pytest.approx(expected, abs=0.02)
  assert first[~unequal].mean() == pytest.approx(0.5, abs=0.02)


def test_what_does_not_fit_is_refused():
  table, rng = np.zeros((2, 4)), np.random.default_rng(0)
  with pytest.raises(UserError, match="even number of completions, not 3"):
    feedback.pairs(table[:, :3])
  with pytest.raises(UserError, match="'det' or 'bt', not 'gold'"):
    feedback.pairs(table, "gold")
  with pytest.raises(UserError, match="takes a random generator"):
    feedback.pairs(table, "bt")
  with pytest.raises(UserError, match="takes no random generator"):
    feedback.pairs(table, "det", rng)
