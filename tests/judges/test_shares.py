"""Scores by comparing the completions of a prompt with each other."""

import dataclasses

import numpy as np
import pytest

from offalign.errors import UserError
from offalign.judges import shares
from offalign.judges.base import Verdicts


@dataclasses.dataclass
class Ranks:
  """Stands for an endpoint: prefers the longer text, and refuses some."""

  refused: tuple = ()
  asked: list = dataclasses.field(default_factory=list)
  spec: str = "endpoint(...)"

  def compare(self, prompts, a, b, watch):
    watch()
    self.asked += zip(prompts, a, b, strict=True)
    found = [
      np.nan
      if one != other and {one, other} & set(self.refused)
      else 0.5 + 0.5 * np.sign(len(one) - len(other))
      for one, other in zip(a, b, strict=True)
    ]
    return Verdicts(np.array(found), {"calls": len(a)})


def test_a_score_is_the_share_of_the_others_that_it_beats():
  judge = Ranks()
  pairs = [("p", "a"), ("q", "xy"), ("p", "abc"), ("p", "ab"), ("q", "xyz")]
  found, counts = shares.scores(judge, pairs)
  assert found.tolist() == [0, 0, 1, 0.5, 1]
  assert counts == {"calls": 4}
  assert judge.asked == [
    ("p", "a", "abc"),
    ("p", "a", "ab"),
    ("p", "abc", "ab"),
    ("q", "xy", "xyz"),
  ]


def test_a_copy_is_a_tie_and_all_scores_of_a_prompt_have_mean_one_half():
  rng = np.random.default_rng(0)
  texts = ["x" * n for n in rng.integers(1, 5, 12)]
  found, _ = shares.scores(Ranks(), [("p", text) for text in texts])
  assert found.mean() == pytest.approx(0.5)
  assert [found[0]] == [
    f for f, text in zip(found, texts, strict=True) if text == texts[0]
  ][:1]
  lengths = np.array([len(text) for text in texts])
  wins = (lengths[:, None] > lengths) + 0.5 * (lengths[:, None] == lengths)
  np.testing.assert_allclose(found, (wins.sum(1) - 0.5) / 11)


def test_what_has_no_verdict_is_in_no_mean():
  found, _ = shares.scores(
    Ranks(refused=("abc",)), [("p", "a"), ("p", "abc"), ("p", "ab")]
  )
  np.testing.assert_array_equal(found, [0, np.nan, 1])


def test_a_copy_says_nothing_of_what_the_judge_would_not_read():
  pairs = [("p", "{a}"), ("p", "b"), ("p", "{a}"), ("p", "cc")]
  found, _ = shares.scores(Ranks(refused=("{a}",)), pairs)
  np.testing.assert_array_equal(found, [np.nan, 0, np.nan, 1])
  same, _ = shares.scores(Ranks(), [("p", "a")] * 3)
  assert same.tolist() == [0.5] * 3


def test_a_prompt_with_one_completion_is_refused():
  with pytest.raises(UserError, match="'q' has one alone: give each two"):
    shares.scores(Ranks(), [("p", "a"), ("p", "b"), ("q", "a")])
