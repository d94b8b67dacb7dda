"""Rewards of several aspects: weights, scales and least values."""

import numpy as np
import pytest

from offalign.data import load
from offalign.data.reading import aspects
from offalign.errors import UserError

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def rows(values):
  return [
    {"prompt": f"p{i}", "completion": "c", "reward": {"h": h, "s": s}}
    for i, (h, s) in enumerate(values)
  ]


VALUES = [(1, 10), (2, 30), (4, 20), (5, 80)]


def rewards(table):
  return [reward for r in table.records for reward in r.rewards]


def test_each_aspect_is_scaled_before_it_is_weighted():
  h, s = np.array(VALUES, float).T
  z = 0.7 * (h - h.mean()) / h.std() - 0.3 * (s - s.mean()) / s.std()
  for weights in ("h=0.7, s=-0.3", "h:0.7,s:-0.3", {"h": 0.7, "s": -0.3}):
    found = load(rows(VALUES), reward_weights=weights)
    np.testing.assert_allclose(rewards(found), z, atol=1e-12)
  assert "0.7 x h (mean 3, sd 1.581) + -0.3 x s" in str(found.summary)
  plain = load(
    rows(VALUES), reward_weights="h=0.7, s=-0.3", reward_scaling="none"
  )
  np.testing.assert_allclose(rewards(plain), 0.7 * h - 0.3 * s)


def test_held_out_rows_have_the_scales_of_the_others():
  table = load(rows(VALUES), reward_weights="h=1, s=2")
  held = load(
    rows(VALUES[:2]), reward_weights="h=1, s=2", reward_scales=table.scales
  )
  np.testing.assert_allclose(rewards(held), rewards(table)[:2])
  assert rewards(load(rows(VALUES[:2]), reward_weights="h=1, s=2")) != (
    rewards(held)
  )


def test_below_the_least_is_the_lowest_reward_of_all():
  plain = rewards(load(rows(VALUES), reward_weights="h=1"))
  table = load(rows(VALUES), reward_weights="h=1", reward_least="s=25")
  assert rewards(table) == [plain[0], plain[1], plain[0], plain[3]]
  assert "2 completions below the least (s 25)" in str(table.summary)


def test_an_aspect_that_never_varies_is_said():
  table = load(rows([(1, 3), (2, 3)]), reward_weights="h=1, s=1")
  assert rewards(table) == [-1.0, 1.0]
  assert "aspect 's' is 3 in every row" in str(table.summary)


def test_groups_pairs_and_text_have_aspects_too():
  group = {
    "prompt": "p",
    "completions": ["a", "b"],
    "rewards": [{"h": 1}, {"h": 3}],
  }
  pair = {
    "prompt": "p",
    "chosen": "a",
    "rejected": "b",
    "chosen_reward": {"h": 3},
    "rejected_reward": '{"h": "1"}',
  }
  assert rewards(load([group], reward_weights="h=1")) == [-1.0, 1.0]
  assert rewards(load([pair], reward_weights="h=1")) == [1.0, -1.0]


def feedback(n=3, **changes):
  """Rows of UltraFeedback's published columns."""

  def rated(i, k, name):
    return {"Rating": str((i + k + len(name)) % 5 + 1), "Rationale": "so"}

  found = [
    {
      "source": "sharegpt",
      "instruction": f"i{i}",
      "models": ["a", "b"],
      "completions": [
        {
          "model": "a",
          "principle": "honesty",
          "response": f"r{k}",
          "critique": "well",
          "fine-grained_score": 4.0,
          "overall_score": 5.0 + k,
          "annotations": {name: rated(i, k, name) for name in ASPECTS},
        }
        for k in range(2)
      ],
    }
    for i in range(n)
  ]
  found[-1]["completions"][1]["annotations"] |= changes
  return found


def test_the_four_aspects_of_ultrafeedback():
  weights = dict.fromkeys(ASPECTS, 0.25)
  table = load(feedback(), reward_weights=weights)
  values = np.array(
    [
      [(i + k + len(name)) % 5 + 1 for name in ASPECTS]
      for i in range(3)
      for k in range(2)
    ],
    float,
  )
  z = ((values - values.mean(0)) / values.std(0)).mean(1)
  np.testing.assert_allclose(rewards(table), z, atol=1e-12)
  assert rewards(load(feedback())) == [5.0, 6.0] * 3
  one = load(
    feedback(), reward_weights="overall_score=1", reward_scaling="none"
  )
  assert rewards(one) == [5.0, 6.0] * 3


@pytest.mark.parametrize(
  ("data", "options", "sentence"),
  [
    (rows(VALUES), {}, "an object of several aspects ('h', 's') where a num"),
    (rows(VALUES), {}, "reward_weights='h=1, s=1', or read one of them, "
                       "columns='reward=reward.h'"),
    (rows(VALUES), {"reward_weights": "h=1, safe=1"}, "no aspect 'safe' (it"),
    (rows([(1, None)]), {"reward_weights": "s=1"}, "aspect 's': null where"),
    (rows([(1, True)]), {"reward_weights": "s=1"}, "aspect 's': the boolean"),
    ([{"prompt": "p", "completion": "c", "reward": 1}],
     {"reward_weights": "h=1"}, "the number 1 where an object of aspects"),
    ([{"prompt": "p", "completion": "c"}], {"reward_weights": "h=1"},
     "has no column of rewards to read; leave it out"),
    (rows(VALUES), {"reward_least": "h=1"}, "reward_weights is not set"),
    (rows(VALUES), {"reward_scaling": "std"}, "reward_weights is not set"),
    (rows(VALUES), {"reward_weights": "h"}, "'h' is not an aspect and a num"),
    (rows(VALUES), {"reward_weights": "h=x"}, "'h=x' is not an aspect and"),
    (rows(VALUES), {"reward_weights": "h=nan"}, "is not an aspect and a num"),
    (rows(VALUES), {"reward_weights": "h=1, h=2"}, "'h' is given twice"),
    (rows(VALUES), {"reward_weights": "h=0"}, "are all 0"),
    (feedback(honesty={"Rating": "N/A"}), {"reward_weights": "honesty=1"},
     "item 1: aspect 'honesty': the text 'N/A' where a number belongs"),
    (feedback(), {"reward_weights": "honest=1"},
     "no aspect 'honest'; did you mean 'honesty'?"),
  ],
)  # fmt: skip
def test_what_has_no_aspects_is_named(data, options, sentence):
  with pytest.raises(UserError) as error:
    load(data, **options)
  assert sentence in str(error.value)


def test_a_row_that_lacks_one_is_left_out_where_asked():
  lacking = {"prompt": "q", "completion": "c", "reward": {"h": 1}}
  table = load(
    [*rows(VALUES), lacking], reward_weights="h=1, s=1", bad_rows="skip"
  )
  assert len(table.records) == 4
  (problem,) = table.problems
  assert "no aspect 's' (it has 'h')" in str(problem)


def test_options_are_read_once():
  assert aspects.parse(None, None, None) is None
  how = aspects.parse("a=1, b=2", "c=3", "none")
  assert how.names == ("a", "b", "c")
