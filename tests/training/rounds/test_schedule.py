"""Steps, rounds and their parts."""

import dataclasses

import numpy as np
import pytest

from offalign.config import Config, GrowConfig
from offalign.errors import UserError
from offalign.training.rounds.schedule import RoundSampler, Schedule, resolve


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_parts_of_all_rounds_are_all_steps_once(every, parts):
  if parts > every:
    return
  schedule = Schedule(every, parts)
  told = [
    (number, part, step + 1)
    for number in (1, 2, 3)
    for part in range(1, parts + 1)
    for step in schedule.steps(number, part)
  ]
  assert [step for *_, step in told] == list(range(1, 3 * every + 1))
  for number, part, step in told:
    assert schedule.round_of(step) == number
    assert schedule.part_of(step) == part
    assert schedule.begins(step) == (step == schedule.first(number, part))
  sizes = [len(schedule.steps(1, p)) for p in range(1, parts + 1)]
  assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
  ("steps", "rounds", "every", "found"),
  [
    (2000, 5, None, (2000, 5, 400)),
    (None, 2000, None, (2000, 2000, 1)),
    (None, 20, 4, (80, 20, 4)),
    (10, None, 4, (10, 3, 4)),
    (10, 3, 4, (10, 3, 4)),
    (7, None, None, (7, 7, 1)),
    (None, None, None, (1000, 1000, 1)),
  ],
)
def test_two_of_three_give_the_third(steps, rounds, every, found):
  grow = GrowConfig(score="a.py:f", rounds=rounds, every=every)
  made = resolve(Config(steps=steps, grow=grow))
  assert (made.steps, made.grow.rounds, made.grow.every) == found


def test_what_does_not_fit_is_refused():
  grow = GrowConfig(score="a.py:f", rounds=3, every=4)
  with pytest.raises(UserError, match=r"20 are not grow.rounds=3 of 4 steps"):
    resolve(Config(steps=20, grow=grow))
  with pytest.raises(UserError, match=r"epochs=2 is set, but rounds"):
    resolve(Config(epochs=2, grow=grow))
  grow = dataclasses.replace(grow, every=None, thresholds="0,1,2")
  with pytest.raises(UserError, match=r"3 parts of a round.*leave 2 steps"):
    resolve(Config(steps=6, grow=grow))
  assert resolve(Config(grow=grow)).grow.every == 3


def test_few_rows_fill_a_batch_evenly():
  sampler = RoundSampler(3, 8, seed=1, begin=10, epochs_a_step=0.5)
  drawn = np.concatenate([sampler.indices(10 + i) for i in range(3)])
  assert np.bincount(drawn).tolist() == [8, 8, 8]
  np.testing.assert_array_equal(
    sampler.indices(10), RoundSampler(3, 8, seed=1).indices(0)
  )
  assert sampler.epoch(4) == 2.0
