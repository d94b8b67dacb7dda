"""The sample log: what is in it, and that a seed makes it."""

import collections

import numpy as np

from offalign.data.example import shop
from offalign.data.example.score import score


def test_a_seed_makes_the_log():
  assert shop.answers(3) == shop.answers(3)
  assert shop.answers(3) != shop.answers(4)


def test_how_many_rows_and_questions():
  rows = shop.answers()
  assert len(rows) == shop.ROWS
  asked = collections.Counter(row.question for row in rows)
  assert len(asked) == shop.PROMPTS
  assert min(asked.values()) == 1
  assert max(asked.values()) > 2


def test_customers_like_what_is_good_but_for_some_noise():
  rows = shop.answers()
  good = np.array([score(row.question, row.answer) == 1 for row in rows])
  liked = np.array([row.liked for row in rows])
  assert abs(good.mean() - 0.4) < 0.04
  assert 0.92 < (good == liked).mean() < 0.98
  stars = np.array([row.stars for row in rows])
  assert set(stars) == {1, 2, 3, 4, 5}
  assert stars[good].mean() > stars[~good].mean() + 1.5
  rated = np.mean([row.rated for row in rows])
  assert abs(rated - (1 - shop.UNRATED)) < 0.03
