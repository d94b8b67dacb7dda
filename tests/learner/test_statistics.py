"""Batch means: rewards are compared with them, so no rounding may tip one."""

import numpy as np
import pytest

from offalign.learner.statistics import batch_statistics


@pytest.mark.parametrize("reward", [0.1, 0.7, -7.7, 1e-3, 123.4])
def test_the_mean_of_equal_rewards_is_that_reward(reward):
  rewards = np.full((12, 3), reward, np.float32)
  weight = np.linspace(0.1, 3.0, 12, dtype=np.float32)
  # What stands in rows without weight has no say.
  weight[4], rewards[4] = 0.0, -1e4
  weight[7], rewards[7] = 0.0, np.nan
  found = batch_statistics(
    ("reward_mean",),
    weight=weight,
    lengths=rewards,
    rewards=rewards,
    labels=None,
  )
  assert found["reward_mean"] == np.float32(reward)
