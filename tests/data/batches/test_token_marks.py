"""Spans of characters become weights and rewards of tokens."""

import numpy as np
import pytest

from offalign import data, losses
from offalign.data.batches.batch import batch
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import UserError
from offalign.types import Kind

TEXT = "the cat sat"
BPE = Tokenizer.bpe(["the cat sat on the mat"] * 3, 300)


def tokens(spans, tokenizer=BPE, text=TEXT, reward=1.0, **options):
  row = {"prompt": "p", "completion": text, "spans": spans}
  if reward is not None:
    row["reward"] = reward
  return tokenize([row], tokenizer, **options)


def tokenize(rows, tokenizer, needs=("token_weights",), **options):
  needs = ("rewards", *needs)
  view = data.view(data.load(rows).records, Kind.SINGLE, needs)
  return data.tokenize(view, tokenizer, **options)


def columns(rows, n=0):
  """The pieces of row n's completion, their weights and their rewards."""
  made = batch(rows, np.arange(len(rows)))
  mask = made.completion_mask[n, 0]
  assert not made.token_weights[n, 0][~mask].any()
  assert not made.token_rewards[n, 0][~mask].any()
  return (
    [BPE.decode([i]) for i in made.completions[n, 0][mask]],
    made.token_weights[n, 0][mask].tolist(),
    made.token_rewards[n, 0][mask].tolist(),
  )


def test_weights_are_means_over_the_characters_of_a_token():
  rows = tokens(
    [
      {"start": 0, "end": 3, "weight": 0},
      {"start": 6, "end": 11, "weight": 4, "reward": 2.5},
    ]
  )
  pieces, weights, rewards = columns(rows)
  assert pieces == ["the", " cat", " sat", ""]
  # Of " cat" one of three letters is in the span; white space is not counted.
  # The end goes with the last letter.
  np.testing.assert_allclose(weights, [0, (1 + 1 + 4) / 3, 4, 4])
  assert rewards == [0, 0, 2.5, 0]


def test_rewards_add_up_to_those_of_the_spans():
  spans = [
    {"start": i, "end": i + 1, "weight": 1, "reward": 2.0**i}
    for i in range(len(TEXT))
  ]
  _, _, rewards = columns(tokens(spans))
  assert sum(rewards) == 2 ** len(TEXT) - 1
  assert rewards == [7, 8 + 16 + 32 + 64, 128 + 256 + 512 + 1024, 0]


def test_every_byte_of_a_character_has_its_weight():
  rows = tokens(
    [{"start": 1, "end": 2, "weight": 3, "reward": 5}],
    Tokenizer.byte(),
    "a🦙b",
  )
  _, weights, rewards = columns(rows)
  assert weights == [1, 3, 3, 3, 3, 1, 1]
  assert rewards == [0, 0, 0, 0, 5, 0, 0]


def test_what_is_cut_off_is_said_and_rows_without_a_token_are_dropped():
  rated = [
    {"start": 0, "end": 3, "reward": 1.0},
    {"start": 4, "end": 7, "reward": 3.0},
    {"start": 8, "end": 11, "reward": 5.0},
  ]
  rows = tokens(rated, reward=None, max_completion=2)
  assert len(rows) == 2
  assert columns(rows, 0)[1:] == ([1, 0], [1, 0])
  assert columns(rows, 1)[1:] == ([0, 1], [0, 3])
  said = "\n".join(rows.summary)
  assert "1 span cut off" in said
  assert "1 row of which no token counts" in said
  assert "(the list:0[2]): dropped" in said
  whole = tokens(rated, reward=None)
  assert len(whole) == 3
  assert "cut off" not in "\n".join(whole.summary)
  with pytest.raises(UserError, match="no other row remains"):
    tokens(rated[2:], reward=None, max_completion=2)
  # Half a span is left, and what it was worth is not known to be earned.
  half = tokens([{**rated[0], "end": 7, "weight": 2}], max_completion=1)
  assert columns(half)[1:] == ([2], [0])


def test_numbers_by_token_are_used_as_they_are():
  (ids,) = BPE.encode([TEXT])
  row = {
    "prompt": "p",
    "completion": TEXT,
    "reward": 1.0,
    "completion_ids": [*ids.tolist(), BPE.eos_id],
    "token_weights": [0.5, 1, 2, 0],
    "token_rewards": [0, -1, 0, 1],
  }
  rows = tokenize([row], BPE, ("token_weights", "token_rewards"))
  assert columns(rows)[1:] == ([0.5, 1, 2, 0], [0, -1, 0, 1])
  cut = tokenize([row], BPE, max_completion=2)
  assert columns(cut)[1:] == ([0.5, 1], [0, -1])
  assert "of 1 completion by token cut off" in "\n".join(cut.summary)


def test_spans_of_logged_tokens_are_found_in_them():
  (ids,) = Tokenizer.byte().encode([TEXT])
  row = {
    "prompt": "p",
    "completion": TEXT,
    "reward": 1.0,
    "completion_ids": ids.tolist(),
    "spans": [{"start": 9, "end": 11, "weight": 0}],
  }
  rows = tokenize([row], Tokenizer.byte())
  assert columns(rows)[1] == [1] * 9 + [0, 0]
  wrong = row | {"completion_ids": [ids[0] + 1, *ids.tolist()[1:]]}
  with pytest.raises(UserError, match="its spans cannot be found in them"):
    tokenize([row, wrong], Tokenizer.byte())


def test_pairs_and_repeats_have_weights_of_their_own():
  spans = [[{"start": 0, "end": 3, "weight": w}] for w in (2.0, 3.0)]
  pairs = [
    {
      "prompt": "p",
      "chosen": TEXT,
      "rejected": "the mat",
      "chosen_spans": own,
      "rejected_spans": None,
    }
    for own in spans
  ]
  loss = losses.get("weighted_dpo")
  view = data.view(data.load(pairs).records, loss.kind, loss.needs)
  rows = data.tokenize(view, BPE).take(np.array([1, 0, 1]))
  made = batch(rows, np.arange(3))
  assert made.token_weights[:, 0, 0].tolist() == [3, 2, 3]
  assert made.token_weights[:, 1].tolist() == [[1, 1, 1, 0]] * 3
  assert rows.unique().token_weights is None
