"""The judge learns what was preferred, and scores alike what is alike."""

import numpy as np
import pytest

from benchmarks.worlds.reward_judge import Judge, Replies


def pairs(n, seed):
  """The chosen reply has more tokens 9 than 8: [n, 2, 5] of 10 tokens."""
  rng = np.random.default_rng(seed)
  prompts = rng.integers(3, 8, (n, 4)).astype(np.int32)
  tokens = rng.integers(3, 8, (n, 2, 5)).astype(np.int32)
  tokens[:, 0, :3] = 9
  tokens[:, 1, :3] = 8
  return Replies(prompts, tokens, np.ones(tokens.shape, bool))


@pytest.fixture(scope="module")
def judge():
  train = pairs(64, 0)
  text = Replies(train.prompts, train.tokens[:, :1], train.mask[:, :1])
  return Judge(10, text, train, reading=2, steps=60, rate=3e-3)


def test_it_learns_what_was_preferred(judge):
  held = pairs(50, 1)
  right = judge.right(held)
  assert right.shape == (50,)
  assert right.mean() > 0.9
  turned = Replies(held.prompts, held.tokens[:, ::-1], held.mask)
  np.testing.assert_array_equal(judge.right(turned), 1 - right)


def test_equal_replies_have_equal_scores_whatever_stands_beside_them(judge):
  held = pairs(30, 2)
  scores = judge.scores(held)
  assert scores.shape == (30, 2)
  assert scores.dtype == np.float64
  alone = Replies(held.prompts, held.tokens[:, :1], held.mask[:, :1])
  np.testing.assert_allclose(judge.scores(alone)[:, 0], scores[:, 0], atol=2e-4)
  twice = Replies(held.prompts, held.tokens[:, [0, 0]], held.mask[:, [0, 0]])
  np.testing.assert_array_equal(judge.right(twice), np.full(30, 0.5))


def test_what_the_mask_leaves_out_does_not_count(judge):
  held = pairs(10, 3)
  mask = held.mask.copy()
  mask[:, :, 4] = False
  other = held.tokens.copy()
  other[:, :, 4] = 9
  np.testing.assert_allclose(
    judge.scores(Replies(held.prompts, held.tokens, mask)),
    judge.scores(Replies(held.prompts, other, mask)),
    atol=2e-4,
  )
