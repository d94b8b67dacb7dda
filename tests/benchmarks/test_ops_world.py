import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import ops_world as world
from benchmarks.ops_world import COPY, DONE, EOS, PAD, PRE, REV, SEP, SORT, UM
from benchmarks.worlds import streams
from offalign.errors import UserError

A, B, C, D, E, F = range(9, 15)


def prompt(op, *letters):
  pads = [PAD] * (world.MAX_LENGTH - len(letters))
  return np.array([[op, *letters, *pads, SEP]], np.int32)


def completion(*tokens):
  row = np.full((1, world.COMPLETION_WIDTH), PAD, np.int32)
  row[0, : len(tokens)] = tokens
  return row, np.arange(world.COMPLETION_WIDTH)[None] < len(tokens)


@pytest.fixture(scope="module")
def drawn():
  return world.prompts(30_000, world.generator("sft", 0))


def test_constants():
  assert (world.VOCAB, world.PROMPT_WIDTH, world.COMPLETION_WIDTH) == (
    25,
    7,
    11,
  )


def test_prompts_have_the_layout_and_cover_every_op_and_length(drawn):
  length = (drawn[:, 1:-1] != PAD).sum(axis=1)
  places = np.arange(5) < length[:, None]
  assert drawn.dtype == np.int32
  assert (drawn[:, -1] == SEP).all()
  assert (drawn[:, 1:-1][places] >= world.FIRST_LETTER).all()
  assert (drawn[:, 1:-1][~places] == PAD).all()
  for values, count in ((drawn[:, 0], 3), (length, 4), (drawn[:, 1], 16)):
    seen, counts = np.unique(values, return_counts=True)
    assert len(seen) == count
    share = 1 / count
    sd = math.sqrt(share * (1 - share) / len(drawn))
    np.testing.assert_allclose(counts / len(drawn), share, atol=5 * sd)


@pytest.mark.parametrize(
  ("op", "letters", "answer"),
  [
    (COPY, (C, A, C), (C, A, C)),
    (REV, (C, A, B, B, F), (F, B, B, A, C)),
    (REV, (A, B), (B, A)),
    (SORT, (C, A, C, B), (A, B, C, C)),
  ],
)
def test_targets(op, letters, answer):
  padded = [*answer, *[PAD] * (5 - len(answer))]
  assert world.targets(prompt(op, *letters)).tolist() == [padded]


@pytest.mark.parametrize(
  ("tokens", "reward"),
  [
    ((A, B, C, D, DONE, EOS), 1.75),
    ((A, B, C, D, EOS), 1.5),
    ((PRE, A, B, C, D, EOS), 1.25),
    ((PRE, PRE, A, B, C, D, EOS), 1.25),
    ((A, UM, B, C, UM, D, EOS), 1.3),
    ((A, B, C, D, DONE, DONE, DONE, EOS), 1.55),
    ((DONE, A, B, C, D, EOS), 1.5),
    ((A, B, C, D, DONE, UM, EOS), 1.4),
    ((A, B, C, D, DONE), 1.0),
    ((A, B, C, D), 1.0),
    ((A, B, EOS), 0.5),
    ((A, B, C, D, E, F, EOS), 4 / 6),
    ((D, C, B, A, EOS), 0.25),
    ((A, C, B, D, DONE, EOS), 1.0),
    ((EOS,), 0.0),
    ((), -0.5),
    ((DONE, EOS), 0.25),
    ((SEP, COPY, PAD, EOS), 0.0),
    ((PRE, *[UM] * 9, EOS), -1.15),
    ((A, B, C, D, DONE, EOS, UM, PRE), 1.75),
  ],
)
def test_gold_reward_of_worked_examples(tokens, reward):
  got = world.gold_reward(prompt(COPY, A, B, C, D), *completion(*tokens))
  np.testing.assert_allclose(got, [reward], atol=1e-12)


def test_targets_of_the_other_ops_earn_the_full_reward():
  for op, answer in ((REV, (A, C, B)), (SORT, (A, B, C))):
    rows = completion(*answer, DONE, EOS)
    assert world.gold_reward(prompt(op, B, C, A), *rows) == 1.75
    assert world.exact(prompt(op, B, C, A), *rows)


def test_masked_tokens_do_not_count():
  tokens, mask = completion(A, B, C, D, EOS)
  tokens[0, 5:] = [UM, PRE, A, B, DONE, EOS]
  assert world.gold_reward(prompt(COPY, A, B, C, D), tokens, mask) == 1.5
  mask[0, 4] = False
  assert world.gold_reward(prompt(COPY, A, B, C, D), tokens, mask) == 1.0


def test_exact_is_about_letters_alone():
  x = prompt(COPY, A, B)
  assert world.exact(x, *completion(PRE, A, UM, B)).tolist() == [True]
  assert world.exact(x, *completion(A, EOS)).tolist() == [False]
  assert world.exact(x, *completion(A, B, B, EOS)).tolist() == [False]
  assert world.exact(x, *completion(B, A, EOS)).tolist() == [False]


def test_equal_rewards_are_equal_floats():
  x = prompt(COPY, A, B, C, D, E)
  halves = world.gold_reward(x, *completion(A, B, C, UM, EOS))
  assert halves == world.gold_reward(x, *completion(*[A, B, C, D, E] * 2, EOS))
  # 3/5 - .1 = .5 against 5/10; the second has ten letters.
  assert halves == 0.5


def test_gold_reward_of_groups_is_that_of_their_rows(drawn):
  rng = np.random.default_rng(1)
  x = drawn[:50]
  tokens = rng.integers(0, world.VOCAB, (50, 4, 11))
  mask = np.arange(11) < rng.integers(0, 12, (50, 4, 1))
  together = world.gold_reward(x, tokens, mask)
  assert together.shape == (50, 4)
  for k in range(4):
    np.testing.assert_array_equal(
      together[:, k], world.gold_reward(x, tokens[:, k], mask[:, k])
    )
    np.testing.assert_array_equal(
      world.exact(x, tokens, mask)[:, k],
      world.exact(x, tokens[:, k], mask[:, k]),
    )


def test_a_wider_completion_is_refused():
  rows = np.full((1, 12), A)
  with pytest.raises(UserError, match="11 tokens wide, not 12"):
    world.gold_reward(prompt(COPY, A, B), rows, rows > 0)


def brute_force_lcs(a, b):
  subsequences = {
    tuple(b[i] for i in places)
    for size in range(len(b) + 1)
    for places in itertools.combinations(range(len(b)), size)
  }
  return max(
    size
    for size in range(min(len(a), len(b)) + 1)
    for places in itertools.combinations(range(len(a)), size)
    if tuple(a[i] for i in places) in subsequences
  )


letters = st.lists(st.integers(0, 3), min_size=1, max_size=7)


@settings(deadline=None)
@given(letters, letters)
def test_lcs_agrees_with_brute_force(a, b):
  rows = np.array([a, a[::-1]]), np.array([b, b])
  expected = [brute_force_lcs(a, b), brute_force_lcs(a[::-1], b)]
  assert world.lcs(*rows).tolist() == expected


def shares(drawn, style):
  tokens, mask = world.demonstrations(
    drawn, world.generator("sft", 1), world.DEMONSTRATORS.index(style)
  )
  return tokens, mask, (tokens >= world.FIRST_LETTER).sum(axis=1)


def close(measured, expected, sd=0.5):
  assert abs(measured.mean() - expected) < 5 * sd / math.sqrt(measured.size)


@pytest.mark.parametrize(
  ("style", "error", "done"), [("careful", 0.04, 0.8), ("chatty", 0.18, 0.0)]
)
def test_demonstrators_err_as_often_as_they_should(drawn, style, error, done):
  tokens, mask, written = shares(drawn, style)
  length = (drawn[:, 1:-1] != PAD).sum(axis=1)
  exact = world.exact(drawn, tokens, mask)
  for op, k in ((COPY, 0.5), (REV, 1.0), (SORT, 1.6)):
    rows = drawn[:, 0] == op
    close(written[rows] / length[rows], 1 - 0.4 * k * error)
    # A random letter is the right one once in sixteen times.
    right = 1 - k * error * (1 - 0.6 / 16)
    for n in range(2, 6):
      close(exact[rows & (length == n)], right**n)
  close((tokens == DONE).any(axis=1), done)


def test_the_chatty_one_says_pre_and_um(drawn):
  tokens, _, written = shares(drawn, "chatty")
  assert (tokens[:, 0] == PRE).all()
  assert ((tokens == PRE).sum(axis=1) == 1).all()
  ums = (tokens == UM).sum(axis=1)
  assert abs(ums.sum() / written.sum() - 0.25) < 0.01
  previous = tokens[:, :-1][tokens[:, 1:] == UM]
  assert (previous >= world.FIRST_LETTER).all()


def test_the_lazy_one_stops_early(drawn):
  tokens, _, written = shares(drawn, "lazy")
  length = (drawn[:, 1:-1] != PAD).sum(axis=1)
  for n, limit in ((2, 2), (3, 2), (4, 3), (5, 3)):
    assert written[length == n].max() == limit
  close((tokens == DONE).any(axis=1), 0.1)
  assert not np.isin(tokens, (PRE, UM)).any()


def test_the_mixture_is_half_chatty_and_a_fifth_careful(drawn):
  tokens, _ = world.demonstrations(drawn, world.generator("sft", 1))
  close((tokens == PRE).any(axis=1), 0.5)
  close((tokens == DONE).any(axis=1), 0.3 * 0.1 + 0.2 * 0.8)


def test_demonstrations_end_with_eos_and_are_masked_after_it(drawn):
  tokens, mask = world.demonstrations(drawn, world.generator("sft", 1))
  size = mask.sum(axis=1)
  assert tokens.dtype == np.int32
  assert mask.dtype == bool
  assert (mask == (np.arange(11) < size[:, None])).all()
  assert (tokens[~mask] == PAD).all()
  ended = (tokens == EOS).any(axis=1)
  assert (tokens[ended, size[ended] - 1] == EOS).all()
  assert ((tokens == EOS).sum(axis=1) <= 1).all()
  assert (size[~ended] == 11).all()
  assert ended.mean() > 0.999


def test_a_chatty_one_too_long_is_cut_before_its_eos():
  x = np.repeat(prompt(COPY, A, B, C, D, E), 20_000, axis=0)
  tokens, mask = world.demonstrations(x, np.random.default_rng(0), 0)
  cut = ~(tokens == EOS).any(axis=1)
  assert cut.any()
  assert mask[cut].all()
  assert (tokens[cut][:, [0, 2, 4, 6, 8, 10]] == [PRE, *[UM] * 5]).all()
  perfect = world.exact(x, tokens, mask) & cut
  reward = world.gold_reward(x, tokens, mask)[perfect]
  np.testing.assert_allclose(reward, 1.5 - 0.25 - 0.5 - 0.5)


def test_offset():
  level = 0.37
  for op, letter, units in (
    (COPY, 9, 0.0),
    (COPY, 12, 2.0),
    (REV, 13, -1.0),
    (REV, 10, -1 / 3),
    (SORT, 11, -2 / 3),
    (SORT, 24, 0.0),
  ):
    got = world.offset(prompt(op, letter, A), level)
    np.testing.assert_allclose(got, [level * units], atol=1e-12)


def test_no_prompt_is_of_two_streams():
  drawn = {
    stream: streams.prompts_of(
      world.prompts, stream, n, world.generator(stream, 0)
    )
    for stream, n in (
      ("sft", 20_000),
      ("train", 6_000),
      ("validation", 500),
      ("test", 1000),
    )
  }
  for stream, prompts in drawn.items():
    assert set(streams.stream_of(prompts)) == {stream}
  seen = {stream: set(map(tuple, x.tolist())) for stream, x in drawn.items()}
  for a, b in itertools.combinations(seen, 2):
    assert not seen[a] & seen[b], (a, b)
  # Of other seeds too, and whatever the operation and length.
  later = streams.prompts_of(
    world.prompts, "train", 2048, world.generator("train", 3)
  )
  assert not seen["test"] & set(map(tuple, later.tolist()))
  assert {len(x) for x in drawn.values()} == {20_000, 6_000, 500, 1000}


def test_a_stream_has_its_share_of_every_kind_of_prompt():
  x = world.prompts(60_000, world.generator("sft", 0))
  of = streams.stream_of(x)
  length = (x[:, 1:-1] != world.PAD).sum(axis=1)
  for op in world.OPS:
    for n in (2, 3, 4, 5):
      here = of[(x[:, 0] == op) & (length == n)]
      assert 0.1 < np.mean(here == "test") < 0.2
      assert 0.39 < np.mean(here == "sft") < 0.51
  with pytest.raises(UserError, match="no prompts belong to 'labels'"):
    streams.prompts_of(world.prompts, "labels", 1, world.generator("labels", 0))


def test_randomness_is_the_seed_and_the_stream():
  def draw(stream, seed):
    rng = world.generator(stream, seed)
    x = world.prompts(100, rng)
    return np.hstack([x, world.demonstrations(x, rng)[0]])

  np.testing.assert_array_equal(draw("train", 3), draw("train", 3))
  for stream, seed in (("train", 4), ("test", 3)):
    assert (draw("train", 3) != draw(stream, seed)).any()
  with pytest.raises(UserError, match="did you mean 'train'"):
    world.generator("trian", 0)


def test_published_results_are_about_these_very_data():
  x = world.prompts(3, world.generator("sft", 0))
  tokens, _ = world.demonstrations(x, world.generator("sft", 1))
  assert x.tolist() == [
    [5, 10, 9, 11, 0, 0, 1],
    [4, 23, 17, 18, 0, 0, 1],
    [4, 19, 17, 0, 0, 0, 1],
  ]
  assert tokens.tolist() == [
    [9, 23, 11, 8, 2, 0, 0, 0, 0, 0, 0],
    [18, 17, 2, 0, 0, 0, 0, 0, 0, 0, 0],
    [17, 19, 8, 2, 0, 0, 0, 0, 0, 0, 0],
  ]
