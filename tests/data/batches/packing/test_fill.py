"""Every token once, in order, in rows that hold it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offalign.data.batches.packing.fill import members, pack
from offalign.data.batches.packing.shape import Shape, choose, deal, fit
from offalign.errors import UserError
from offalign.types import Batch

P, T = 7, 5


@st.composite
def batches(draw):
  """A batch of any lengths, and how it is cut."""
  shards, microbatches, each = (draw(st.integers(1, 3)) for _ in range(3))
  b, k = shards * microbatches * each, draw(st.integers(1, 3))
  rng = np.random.default_rng(draw(st.integers(0, 2**32)))
  prompt = rng.integers(1, P + 1, (b, 1))
  left = rng.integers(0, P + 1 - prompt)
  place = np.arange(P)
  batch = Batch(
    prompts=rng.integers(1, 100, (b, P)),
    prompt_mask=(place >= left) & (place < left + prompt),
    completions=rng.integers(1, 100, (b, k, T)),
    completion_mask=np.arange(T) < rng.integers(0, T + 1, (b, k, 1)),
    weight=rng.permutation([1.0] * (b - b // 4) + [0.0] * (b // 4)),
  )
  return batch, {"shards": shards, "microbatches": microbatches}


def room(batch, cut, rows):
  """The least shape of so many rows."""
  groups = members(len(batch.weight), **cut)
  counts = batch.weight > 0
  prompt = np.where(counts, batch.prompt_mask.sum(1), 1)
  completion = np.maximum(batch.completion_mask.sum(2), 1)
  completion = np.where(counts[:, None], completion, 1).sum(1)
  return fit(prompt[groups], completion[groups], rows)


@given(batches(), st.integers(1, 4))
def test_every_token_is_there_once_with_the_one_before_it(drawn, rows):
  batch, cut = drawn
  packed = pack(batch, room(batch, cut, rows), **cut)
  k, seen = batch.completions.shape[1], np.zeros(2, int)
  c = packed.completions.shape[2]
  for g, group in enumerate(members(len(batch.weight), **cut)):
    for number, b in enumerate(group):
      x = batch.prompts[b][batch.prompt_mask[b]]
      x = x if batch.weight[b] else x[:1]
      r, slots = np.nonzero(packed.prompt_owner[g] == number + 1)
      assert len(set(r)) == 1
      seen[0] += len(slots)
      np.testing.assert_array_equal(packed.prompts[g][r, slots], x)
      np.testing.assert_array_equal(
        packed.prompt_position[g][r, slots], np.arange(len(x))
      )
      last = divmod(int(packed.prompt_end[b]), packed.prompts.shape[2])
      assert last == (r[0], slots[-1])
      both = np.concatenate([packed.prompts[g], packed.completions[g]], 1)[r[0]]
      for i in range(k):
        y = batch.completions[b, i][batch.completion_mask[b, i]]
        n = max(len(y), 1) if batch.weight[b] else 1
        row, slots = np.nonzero(packed.segment[g] == number * k + i + 1)
        seen[1] += len(slots)
        assert set(row) == {r[0]}
        assert divmod(int(packed.begin[b, i]), c) == (row[0], slots[0])
        np.testing.assert_array_equal(np.diff(slots), 1)
        if len(y):
          there = packed.completions[g][row, slots]
          np.testing.assert_array_equal(there, y[:n])
          np.testing.assert_array_equal(
            both[packed.before[g][row, slots]], np.r_[x[-1], y[: n - 1]]
          )
        np.testing.assert_array_equal(
          packed.position[g][row, slots], len(x) + np.arange(n)
        )
  # No other slot belongs to anything.
  assert seen[0] == (packed.prompt_owner > 0).sum()
  assert seen[1] == (packed.segment > 0).sum()


@given(batches(), st.integers(1, 4))
def test_it_is_the_same_each_time_and_never_longer_than_its_rows(drawn, rows):
  batch, cut = drawn
  shape = room(batch, cut, rows)
  first, second = (pack(batch, shape, **cut) for _ in range(2))
  for field in dataclasses.fields(first):
    a, b = (getattr(x, field.name) for x in (first, second))
    np.testing.assert_array_equal(a, b)
  for name in ("prompt", "completion"):
    less = dataclasses.replace(shape, **{name: getattr(shape, name) - 8})
    with pytest.raises(UserError, match="does not fit"):
      pack(batch, less, **cut)


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 9))
def test_a_group_is_dealt_as_if_it_were_alone(seed, rows, each):
  rng = np.random.default_rng(seed)
  prompts, completions = rng.integers(1, 50, (2, 4, each))
  together, tokens = deal(prompts, completions, rows)
  for i in range(4):
    one = np.s_[i : i + 1]
    alone, its = deal(prompts[one], completions[one], rows)
    np.testing.assert_array_equal(together[one], alone)
    np.testing.assert_array_equal(tokens[one], its)
  assert tokens[..., 0].sum() == prompts.sum()
  assert tokens[..., 1].sum() == completions.sum()


def test_rows_of_equal_lengths_are_full():
  lengths = np.full((3, 12), 16)
  assert fit(lengths, 2 * lengths, 4) == Shape(4, 48, 96)


def test_few_long_rows_where_lengths_differ_and_the_model_is_wide():
  rng = np.random.default_rng(0)
  prompts = rng.choice([8, 256], (50, 16), p=[0.9, 0.1])
  completions = rng.choice([16, 128], (50, 16), p=[0.5, 0.5])
  wide, narrow = (choose(prompts, completions, d) for d in (4096, 8))
  padded = Shape(16, 256, 128)
  assert wide.rows < narrow.rows < padded.rows
  for shape, width in ((wide, 4096), (narrow, 8)):
    assert shape.cost(width) < padded.cost(width)
  assert wide.tokens < narrow.tokens < padded.tokens
  assert wide.tokens < 0.6 * padded.tokens


def test_a_prompt_without_tokens_is_named():
  batch = Batch(
    prompts=np.ones((2, 3), int),
    prompt_mask=np.array([[True] * 3, [False] * 3]),
    completions=np.ones((2, 1, 2), int),
    completion_mask=np.ones((2, 1, 2), bool),
    weight=np.ones(2),
  )
  with pytest.raises(UserError, match=r"^row 1 of the batch has a prompt with"):
    pack(batch, Shape(1, 8, 8))
