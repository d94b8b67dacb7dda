import dataclasses
import itertools

import hypothesis
import jax
import numpy as np
import pytest
import tokenizers
from hypothesis import strategies as st
from tokenizers import models

from offalign import data
from offalign.data import Message, Record, Sampler
from offalign.errors import UserError
from offalign.types import Kind

BYTE = data.make_tokenizer("byte")
PAIRS = [
  Record("x", ("good", "bad"), (1.0, 0.0), None, True, "f:0"),
  Record("longer prompt", ("", "bad"), (0.5, 0.25), None, True, "f:1"),
  Record("x", ("good", "worse still"), (1.0, -1.0), None, True, "f:2"),
]


@pytest.fixture(scope="module")
def rows():
  view = data.view(PAIRS, Kind.PAIR, ("rewards", "labels"))
  return data.tokenize(view, BYTE)


def test_a_batch_is_its_rows(rows):
  batch = data.batch(rows, np.array([2, 0, 1, 0]))
  shapes = {
    "prompts": (4, 14),
    "prompt_mask": (4, 14),
    "completions": (4, 2, 12),
    "completion_mask": (4, 2, 12),
    "weight": (4,),
    "rewards": (4, 2),
    "labels": (4, 2),
  }
  dtypes = {
    "prompts": np.int32,
    "completions": np.int32,
    "prompt_mask": bool,
    "completion_mask": bool,
    "labels": bool,
    "weight": np.float32,
    "rewards": np.float32,
  }
  for name, shape in shapes.items():
    array = getattr(batch, name)
    assert isinstance(array, np.ndarray)
    assert (array.shape, array.dtype) == (shape, dtypes[name]), name
  assert batch.ref_logps is None
  for i, record in enumerate(PAIRS[k] for k in (2, 0, 1, 0)):
    prompt = batch.prompts[i][batch.prompt_mask[i]]
    assert prompt[0] == BYTE.bos_id
    assert BYTE.decode(prompt) == record.prompt
    assert batch.rewards[i].tolist() == list(record.rewards)
    assert batch.labels[i].tolist() == [True, False]
    for k in range(2):
      tokens = batch.completions[i, k][batch.completion_mask[i, k]]
      assert tokens[-1] == BYTE.eos_id
      assert BYTE.decode(tokens) == record.completions[k]
  assert np.all(batch.weight == 1)


def test_padding_is_on_the_right_and_known_by_the_mask_alone(rows):
  as_text = dataclasses.replace(rows, pad_id=int(rows.completions.tokens[0]))
  one, two = (data.batch(r, np.arange(3)) for r in (rows, as_text))
  for name in ("prompt", "completion"):
    mask = getattr(one, f"{name}_mask")
    assert np.all(np.diff(mask.astype(int), axis=-1) <= 0)
    assert np.all(mask == getattr(two, f"{name}_mask"))
    ids = [getattr(batch, f"{name}s") for batch in (one, two)]
    assert np.all(ids[0][mask] == ids[1][mask])
    assert np.all(ids[0][~mask] == BYTE.pad_id)
    assert np.all(ids[1][~mask] == as_text.pad_id)
  assert np.all(one.completion_mask.any(-1))
  assert np.all(one.prompt_mask.any(-1))


def test_a_batch_is_a_pytree_with_shapes_that_never_change(rows):
  shapes = {
    tuple(leaf.shape for leaf in jax.tree.leaves(data.batch(rows, where)))
    for where in itertools.permutations(range(3), 2)
    for where in [np.array(where)]
  }
  assert len(shapes) == 1


def test_each_text_is_stored_once(rows):
  assert len(rows.prompts) == 2
  assert len(rows.completions) == 5  # "good" after "x" is in two rows
  assert rows.completion_index.tolist() == [[0, 1], [2, 3], [0, 4]]
  assert rows.sources[2] == ("f:2[0]", "f:2[1]")


def test_unique_sequences_are_scored_once_and_spread(rows):
  unique = rows.unique()
  assert (len(unique), unique.kind) == (5, Kind.SINGLE)
  batches = list(data.eval_batches(unique, 5))
  (batch,) = batches
  assert batch.completions.shape == (5, 1, 12)
  totals = (batch.completions * batch.completion_mask).sum(-1)[:, 0]
  totals = totals * 1000 + (batch.prompts * batch.prompt_mask).sum(-1)
  spread = totals[rows.completion_index]
  whole = data.batch(rows, np.arange(3))
  direct = (whole.completions * whole.completion_mask).sum(-1) * 1000
  direct += (whole.prompts * whole.prompt_mask).sum(-1)[:, None]
  assert np.array_equal(spread, direct)
  # What was computed then goes with the rows.
  scored = dataclasses.replace(rows, ref_logps=spread.astype(np.float32))
  assert np.array_equal(
    data.batch(scored, np.array([2])).ref_logps, spread[2:].astype(np.float32)
  )


def test_keys_follow_the_tokens_of_prompt_and_completion():
  def keys(prompt, completion, **limits):
    record = Record(prompt, (completion,), None, None, False, "f:0")
    view = data.view([record], Kind.SINGLE)
    return data.tokenize(view, BYTE, **limits).keys()[0]

  known = [
    keys("ab", "c"),
    keys("a", "bc"),
    keys("ab", ""),
    keys("ab", "cd"),
    keys("ab", "cd", max_completion=2),
    keys("ab", "cd", max_prompt=2),
    keys((Message("user", "ab"),), "c"),
  ]
  assert len(set(known)) == len(known)
  assert keys("ab", "c") == known[0]
  assert keys("ab", "c", max_completion=2, max_prompt=3) == known[0]


def test_cuts_are_counted_and_told():
  view = data.view(PAIRS, Kind.PAIR)
  cut = data.tokenize(view, BYTE, max_prompt=5, max_completion=5)
  assert (cut.prompt_length, cut.completion_length) == (5, 5)
  text = "\n".join(cut.summary)
  assert "1 prompt cut to the last 5 tokens" in text
  assert "1 completion cut to the first 5 tokens, without EOS" in text
  batch = data.batch(cut, np.array([1, 2]))
  assert BYTE.decode(batch.prompts[0]) == "ompt"
  assert BYTE.decode(batch.completions[1, 1]) == "worse"
  assert BYTE.eos_id not in batch.completions[1, 1]
  assert "cut" not in "\n".join(data.tokenize(view, BYTE).summary)


def test_one_long_completion_is_pointed_out():
  records = [
    Record("x", ("a" * (5000 if i == 7 else 9),), None, None, False, f"f:{i}")
    for i in range(100)
  ]
  records = [dataclasses.replace(r, prompt=r.source) for r in records]
  rows = data.tokenize(data.view(records, Kind.SINGLE), BYTE)
  assert "padded to the longest completion; max_completion=10" in "\n".join(
    rows.summary
  )


def test_a_prompt_without_tokens_is_refused():
  backend = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
  words = data.Tokenizer(backend, {"eos_token": "a"})
  records = [
    Record(prompt, ("a",), None, None, False, f"f:{i}")
    for i, prompt in enumerate(["a", ""])
  ]
  with pytest.raises(UserError, match="f:1: the prompt has no token"):
    data.tokenize(data.view(records, Kind.SINGLE), words)


def test_lengths_may_be_raised_but_not_lowered(rows):
  wide = dataclasses.replace(rows, prompt_length=20, completion_length=30)
  batch = data.batch(wide, np.array([0]))
  assert (batch.prompts.shape, batch.completions.shape) == (
    (1, 20),
    (1, 2, 30),
  )
  low = dataclasses.replace(rows, completion_length=11)
  with pytest.raises(UserError, match="12 tokens does not fit"):
    data.batch(low, np.array([2]))


sizes = st.tuples(st.integers(1, 30), st.integers(1, 30)).filter(
  lambda s: s[1] <= s[0]
)


@hypothesis.given(sizes, st.integers(0, 3), st.integers(1, 4))
def test_each_epoch_sees_every_row_once(size, seed, epochs):
  n, b = size
  sampler = Sampler(n, b, seed)
  steps = -(-epochs * n // b)
  seen = np.concatenate([sampler.indices(t) for t in range(steps)])
  for e in range(epochs):
    assert sorted(seen[e * n : (e + 1) * n]) == list(range(n))
  assert sampler.epoch(steps) >= epochs > sampler.epoch(steps - 1)


def test_sampling_needs_nothing_but_the_step():
  sampler = Sampler(7, 3, 1)
  forward = [sampler.indices(t).tolist() for t in range(20)]
  fresh = [Sampler(7, 3, 1).indices(t).tolist() for t in reversed(range(20))]
  assert forward == fresh[::-1]
  assert forward != [Sampler(7, 3, 2).indices(t).tolist() for t in range(20)]
  epochs = np.concatenate(forward)[:56].reshape(8, 7)
  assert len({tuple(e) for e in epochs.tolist()}) == 8


def test_sampling_stays_what_it_is():
  # A checkpoint holds only a step: if this changes, runs do not resume.
  assert Sampler(10, 8, 3).indices(1).tolist() == [4, 3, 5, 8, 9, 6, 3, 7]


def test_labels_are_mixed_in_every_batch():
  # Data sorted by label must not give batches of one label.
  labels = np.arange(2000) < 1000
  sampler = Sampler(2000, 64, 0)
  shares = [labels[sampler.indices(t)].mean() for t in range(60)]
  assert min(shares) > 0.25
  assert max(shares) < 0.75


@pytest.mark.parametrize(
  ("n", "size", "seed", "what"),
  [
    (3, 4, 0, "batch of 4 cannot be taken from 3 rows"),
    (3, 0, 0, "batch of 0 cannot"),
    (0, 1, 0, "from 0 rows"),
    (3, 1, -1, "seed must be 0 or more"),
  ],
)
def test_impossible_samplers(n, size, seed, what):
  with pytest.raises(UserError, match=what):
    Sampler(n, size, seed)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_eval_batches_hold_every_row_once(rows, size):
  batches = list(data.eval_batches(rows, size))
  assert {b.prompts.shape[0] for b in batches} == {size}
  weight = np.concatenate([b.weight for b in batches])
  rewards = np.concatenate([b.rewards for b in batches])
  assert weight.sum() == 3
  assert rewards[weight > 0].tolist() == rows.rewards.tolist()
  assert all(b.completion_mask.any(-1).all() for b in batches)
  with pytest.raises(UserError, match="at least 1, not 0"):
    next(data.eval_batches(rows, 0))


@hypothesis.given(
  st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40).filter(
    lambda v: max(v) - min(v) > 1e-3
  )
)
def test_normalised_rewards(values):
  rewards = np.array(values).reshape(-1, 1)
  scaled, scale = data.normalize(rewards)
  assert scaled.dtype == np.float32
  assert scaled.shape == rewards.shape
  wide = scaled.astype(np.float64)
  assert abs(wide.mean()) < 1e-5
  assert abs(wide.std() - 1) < 1e-5
  assert np.array_equal(scale.apply(rewards), scaled)
  back = wide * scale.std + scale.mean
  assert np.abs(back - rewards).max() < 1e-5 * np.abs(rewards).max() + 1e-6
  assert scale.apply(scale.mean) == 0


@pytest.mark.parametrize(
  ("rewards", "what"),
  [
    ([0.1] * 3, "all of them are 0.1"),
    ([], "all of them are absent"),
    ([1e308, -1e308], "out of proportion"),
    ([0.0, 5e-324], "out of proportion"),
  ],
)
def test_rewards_without_a_scale(rewards, what):
  with pytest.raises(UserError, match=what):
    data.normalize(np.array(rewards))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 0.01, 0.99])
def test_splits_without_a_side(fraction):
  records = [Record(p, ("a",), None, None, False, p) for p in "xyz"]
  with pytest.raises(UserError, match="fraction"):
    data.split_by_prompt(records, fraction)
