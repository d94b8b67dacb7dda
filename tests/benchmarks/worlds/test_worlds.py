"""The further worlds: layout, right answers, and a judge worth following."""

import numpy as np
import pytest

from benchmarks import ops_sizes
from benchmarks.ops_feedback import between_share
from benchmarks.worlds import edits, streams, sums
from benchmarks.worlds.base import EOS, PAD, SEP, distance
from benchmarks.worlds.edits import Edits
from benchmarks.worlds.sums import Sums
from offalign.errors import UserError

WORLDS = (Edits(), Sums())
everyone = pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)


def drawn(world, n=600):
  prompts = world.prompts(n, world.generator("sft", 0))
  return prompts, *world.demonstrations(prompts, world.generator("labels", 0))


def row(world, *said):
  tokens = np.full((1, world.completion_width), PAD, np.int32)
  tokens[0, : len(said)] = said
  return tokens, np.arange(world.completion_width)[None] < len(said)


@everyone
def test_prompts_and_demonstrations_have_the_layout(world):
  prompts, tokens, mask = drawn(world)
  assert prompts.shape == (600, world.prompt_width)
  assert (prompts[:, -1] == SEP).all()
  assert tokens.shape == mask.shape == (600, world.completion_width)
  assert tokens.max() < len(world.vocab)
  assert (tokens[~mask] == PAD).all()
  # One EOS, the last that counts, but in the few that are cut.
  ends = ((tokens == EOS) & mask).sum(axis=1)
  assert (ends <= 1).all()
  assert ends.mean() > 0.99
  assert len(set(world.vocab)) == len(world.vocab)


@everyone
def test_the_same_seed_draws_the_same_and_another_does_not(world):
  first, again, other = (
    world.prompts(50, world.generator("sft", seed)) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


@everyone
def test_a_right_answer_of_good_manner_is_the_best_that_there_is(world):
  prompts, tokens, mask = drawn(world)
  gold = world.gold_reward(prompts, tokens, mask)
  best = 1.75
  assert gold.max() <= best
  assert np.isclose(gold, best).mean() > 0.05
  exact = world.exact(prompts, tokens, mask)
  assert exact.dtype == bool
  assert 0.3 < exact.mean() < 0.9
  assert gold[exact].mean() > gold[~exact].mean() + 0.5


@everyone
def test_groups_of_completions_are_judged_as_each_alone(world):
  prompts, tokens, mask = drawn(world, 20)
  pair = np.stack([tokens, tokens[::-1]], axis=1)
  kept = np.stack([mask, mask[::-1]], axis=1)
  both = world.gold_reward(prompts, pair, kept)
  np.testing.assert_array_equal(
    both[:, 0], world.gold_reward(prompts, tokens, mask)
  )
  np.testing.assert_array_equal(
    both[:, 1], world.gold_reward(prompts, tokens[::-1], mask[::-1])
  )


@everyone
def test_what_stands_after_the_end_does_not_count(world):
  prompts, tokens, mask = drawn(world, 50)
  noisy = np.where(mask, tokens, 4)
  np.testing.assert_array_equal(
    world.gold_reward(prompts, tokens, mask),
    world.gold_reward(prompts, noisy, mask),
  )


@everyone
def test_wider_completions_are_refused(world):
  prompts, tokens, mask = drawn(world, 2)
  wide = np.pad(tokens, ((0, 0), (0, 1)))
  with pytest.raises(UserError, match="at most"):
    world.gold_reward(prompts, wide, np.pad(mask, ((0, 0), (0, 1))))


@everyone
def test_the_offset_moves_prompts_and_has_the_level_as_its_scale(world):
  prompts, *_ = drawn(world)
  assert (world.offset(prompts, 0.0) == 0).all()
  once, twice = (world.offset(prompts, level) for level in (0.5, 1.0))
  np.testing.assert_allclose(2 * once, twice)
  assert once.std() > 0.2


@everyone
def test_the_level_puts_about_half_of_the_variance_between_prompts(world):
  prompts = world.prompts(1000, world.generator("train", 0))
  rng = world.generator("labels", 0)
  gold = np.stack(
    [
      world.gold_reward(prompts, *world.demonstrations(prompts, rng))
      for _ in range(4)
    ],
    axis=1,
  )
  assert between_share(gold) < 0.12
  offset = world.offset(prompts, ops_sizes.LEVEL)[:, None]
  assert 0.35 < between_share(gold + offset) < 0.6


@everyone
def test_no_prompt_is_of_two_streams_and_each_has_its_share(world):
  seen = {
    stream: {
      tuple(prompt)
      for prompt in world.prompts_of(
        stream, 400, world.generator(stream, 0)
      ).tolist()
    }
    for stream in streams.PARTS
  }
  for one in seen:
    for other in seen:
      assert one == other or not seen[one] & seen[other]
  drawn = streams.stream_of(world.prompts(4000, world.generator("sft", 1)))
  for stream, part in streams.PARTS.items():
    share = (drawn == stream).mean()
    assert abs(share - part / 100) < 0.06, stream


A, B, C = range(edits.FIRST, edits.FIRST + 3)


@pytest.mark.parametrize(
  ("prompt", "whole", "first"),
  [
    ((edits.DELETE, A, edits.NONE, A, B, A), (B,), (B, A)),
    ((edits.REPLACE, A, C, A, B, A), (C, B, C), (C, B, A)),
    ((edits.DOUBLE, B, edits.NONE, A, B, C), (A, B, B, C), (A, B, B, C)),
    ((edits.TRIM, edits.NONE, edits.NONE, A, B, C), (B,), (B, C)),
  ],
)
def test_edits_are_what_the_instruction_says(prompt, whole, first):
  assert edits.answer(prompt) == list(whole)
  assert edits.answer(prompt, first_only=True) == list(first)


def test_edits_are_judged_by_the_formula():
  world = Edits()
  prompt = np.array(
    [[edits.DELETE, A, edits.NONE, A, B, C, B, PAD, PAD, PAD, SEP]]
  )
  for said, value in (
    ((edits.QUOTE, B, C, B, edits.QUOTE, EOS), 1.75),
    ((B, C, B, EOS), 1.5),
    ((B, C, EOS), 2 / 3),
    ((edits.NOTE, B, C, B, EOS), 1.3),
    ((edits.QUOTE, B, C, B, EOS), 1.5),
    ((B, C, B), 1.0),
    ((EOS,), 0.0),
  ):
    found = world.gold_reward(prompt, *row(world, *said))
    assert found == pytest.approx([value], abs=1e-8), said


def test_sums_are_judged_by_the_formula():
  world = Sums()
  five = [sums.ZERO + i for i in range(10)]
  prompt = np.array([[five[1], five[7], sums.PLUS, five[8], PAD, SEP]])
  assert sums.answer(world.asked(prompt[0])) == 25
  assert sums.without_carry(world.asked(prompt[0])) == 15
  for said, value in (
    ((five[2], five[5], sums.CHECK, EOS), 1.75),
    ((five[2], five[5], EOS), 1.5),
    ((five[1], five[5], EOS), 0.5),
    ((five[0], five[2], five[5], EOS), 2 / 3 - 0.25),
    ((sums.ABOUT, five[2], five[5], EOS), 1.35),
    ((five[2], five[5]), 1.0),
    ((EOS,), 0.0),
  ):
    found = world.gold_reward(prompt, *row(world, *said))
    assert found == pytest.approx([value], abs=1e-8), said


@pytest.mark.parametrize(
  ("a", "b", "least"),
  [("", "", 0), ("ab", "", 2), ("kitten", "sitting", 3), ("abc", "bcd", 2)],
)
def test_distance_is_levenshteins(a, b, least):
  assert distance([ord(c) for c in a], [ord(c) for c in b]) == least
  assert distance([ord(c) for c in b], [ord(c) for c in a]) == least
