"""Completions that are equal as tokens alone, counted as an oracle counts."""

import collections
import itertools

import numpy as np
import pytest

from offalign.data.batches import equal_tokens
from offalign.data.batches.equal_tokens import SEQUENCE, EqualTokens
from offalign.data.text.ragged import Ragged


def entries(rows):
  """`SEQUENCE` rows of [(prompt, [(tokens, text, value), ...]), ...]."""
  made = []
  for n, (prompt, sides) in enumerate(rows):
    for k, (tokens, text, value) in enumerate(sides):
      # A sequence is of its prompt, in tokens as in text.
      made.append(
        (n, k, prompt, prompt * 100 + tokens, prompt * 1000 + text, value)
      )
  return np.array(made, SEQUENCE)


def drawn(seed, k, prompts=4, rows=30):
  """Rows of texts 0 to 5, of which text t is token t // 2."""
  random = np.random.default_rng(seed)
  made = []
  for _ in range(rows):
    texts = random.integers(0, 6, k)
    values = random.integers(0, 2, k).astype(float)
    sides = [
      (t // 2, t, v) for t, v in zip(texts.tolist(), values, strict=True)
    ]
    made.append((int(random.integers(prompts)), sides))
  return made


def same(rows):
  """Counts of what is equal within a row, one row after another."""
  alike = single = apart = several = 0
  for _, sides in rows:
    texts = {text for _, text, _ in sides}
    tokens = {token for token, _, _ in sides}
    several += len(texts) > 1
    apart += len(tokens) > 1
    alike += len(tokens) < len(texts)
    single += len(tokens) < len(texts) and len(tokens) == 1
  return several, alike, single, apart


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 4])
def test_rows_and_feedback(seed, k):
  rows = drawn(seed, k)
  found = EqualTokens(ranked=False)
  found.add(entries(rows))
  counted = found.rows, found.alike, found.single, found.apart
  assert counted == same(rows)
  said = collections.defaultdict(set)
  for prompt, sides in rows:
    for token, text, value in sides:
      said[prompt, token].add((text, value))
  contrary = {
    key
    for key, met in said.items()
    if any(
      a[0] != b[0] and a[1] != b[1] for a, b in itertools.combinations(met, 2)
    )
  }
  assert found.sequences == len(said)
  assert found.contrary == len(contrary)
  assert found.prompts == len({prompt for prompt, _ in rows})
  assert (
    found.alike_rows
    == sorted(
      n
      for n, (_, sides) in enumerate(rows)
      if len({s[0] for s in sides}) < len({s[1] for s in sides})
    )[:10]
  )
  for a, b in found.contrary_rows:
    (one, some), (other, more) = rows[a], rows[b]
    assert one == other
    assert any(
      x[0] == y[0] and x[1] != y[1] and x[2] != y[2] for x in some for y in more
    )


@pytest.mark.parametrize("seed", range(5))
def test_pairs_that_are_made_both_ways(seed):
  rows = drawn(seed, 2)
  found = EqualTokens(ranked=True)
  found.add(entries(rows))
  assert (found.rows, found.alike, found.single, found.apart) == same(rows)
  by_tokens = collections.defaultdict(set)
  for prompt, (a, b) in rows:
    if a[0] != b[0]:
      key = prompt, frozenset((a[0], b[0]))
      by_tokens[key].add((a[0], frozenset((a[1], b[1]))))
  both = [
    met
    for met in by_tokens.values()
    if len({first for first, _ in met}) > 1
    and len({texts for _, texts in met}) > 1
  ]
  assert found.sequences == len(by_tokens)
  assert found.contrary == len(both)
  assert not found.is_nothing_left


@pytest.mark.parametrize("ranked", [False, True])
def test_parts_add_up(ranked):
  rows = drawn(7, 2)
  whole, parts = EqualTokens(ranked), EqualTokens(ranked)
  made = entries(rows)
  whole.add(made)
  for prompt in (3, 0, 2, 1):
    parts.add(made[made["prompt"] == prompt])
  for name in ("rows", "alike", "single", "apart", "sequences", "contrary"):
    assert getattr(parts, name) == getattr(whole, name)
  assert parts.alike_rows == whole.alike_rows
  assert parts.contrary_rows == whole.contrary_rows
  for what in ("alike", "contrary"):
    assert sorted(parts.examples(what)) == sorted(whole.examples(what))


@pytest.mark.parametrize(
  ("rows", "ranked", "nothing"),
  [
    # Pairs, all of them equal; and with one that is not.
    ([(0, [(1, 2, 1), (1, 3, 0)])] * 2, True, True),
    ([(0, [(1, 2, 1), (1, 3, 0)]), (0, [(1, 2, 1), (2, 5, 0)])], True, False),
    # Each text with both thumbs: noise of the data, not of the tokens.
    ([(0, [(1, 2, 1)]), (0, [(1, 2, 0)])], False, False),
    # Two texts of one sequence, up and down; and a clean one beside them.
    ([(0, [(1, 2, 1)]), (0, [(1, 3, 0)])], False, True),
    ([(0, [(1, 2, 1)]), (0, [(1, 3, 0)]), (1, [(1, 2, 1)])], False, False),
    # Contrary, and yet one sequence is mostly good and the other mostly bad.
    (
      [(0, [(t, 2 * t + x, v)]) for t in (0, 1) for x, v in
       [(0, t), (0, t), (1, 1 - t)]],
      False,
      False,
    ),
    # The same in two prompts says nothing about a completion.
    (
      [(t, [(0, x, v)]) for t in (0, 1) for x, v in
       [(0, t), (0, t), (1, 1 - t)]],
      False,
      True,
    ),
    # No feedback.
    ([(0, [(1, 2, np.nan)]), (0, [(1, 3, np.nan)])], False, False),
  ],
)  # fmt: skip
def test_whether_anything_is_left(rows, ranked, nothing):
  found = EqualTokens(ranked)
  found.add(entries(rows))
  assert found.is_nothing_left is nothing


def test_examples_are_bounded(monkeypatch):
  monkeypatch.setattr(equal_tokens, "EXAMPLES", 5)
  found = EqualTokens(ranked=True)
  rows = [(n, [(1, 2, 1), (1, 3, 0)]) for n in range(40)]
  found.add(entries(rows))
  assert found.alike == 40
  assert found.examples("alike") == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]
  assert found.has_more("alike")
  assert not found.has_more("contrary")
  assert len(found.alike_rows) == equal_tokens.LISTED


def test_digests_tell_where_a_prompt_ends():
  arrays = [np.array(x, np.int32) for x in ([1, 2], [1], [3], [2, 3])]
  prompts, sequences = equal_tokens.digests(
    Ragged.of(arrays[:2]), Ragged.of(arrays[2:]), np.array([0, 1])
  )
  assert len({*prompts.tolist(), *sequences.tolist()}) == 4
  assert equal_tokens.digest_both(arrays[1], arrays[3]) == (
    prompts[1],
    sequences[1],
  )
