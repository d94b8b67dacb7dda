"""Tokens as logged become rows to the bit, whatever their texts encode to."""

import json
import types

import jax
import numpy as np
import pytest

from offalign import data, models
from offalign.data.batches.batch import batch
from offalign.data.text.tokenizer import make
from offalign.errors import UserError
from offalign.generation import completing, completions
from offalign.types import Kind

NEEDS = ("rewards", "behaviour_logps")
WORDS = "the cat sat on the mat and the other cat sat with that hat again"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
  """A file of completions that a small policy drew with a BPE tokenizer."""
  tokenizer = make("bpe", [WORDS] * 3, 300)
  model = models.make(
    "decoder(width=16, layers=1, heads=2)", vocab_size=tokenizer.vocab_size
  )
  prompts = [f"the cat {i}" for i in range(40)]
  encoded, _ = completing.encode(tokenizer, prompts, None)
  done = completing.complete(
    model,
    model.init(jax.random.key(0)),
    tokenizer,
    encoded,
    stream="0",
    max_new_tokens=12,
    batch_size=40,
    temperature=1.5,
  )
  path = tmp_path_factory.mktemp("drawn") / "drawn.jsonl"
  lines = [
    json.loads(
      completions.line(prompt, x.text, **completions.about(x, with_tokens=True))
    )
    for prompt, x in zip(prompts, done, strict=True)
  ]
  rows = [{**line, "reward": float(i % 3)} for i, line in enumerate(lines)]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return types.SimpleNamespace(path=path, tokenizer=tokenizer, done=done)


def tokens_of(drawn, rows=None, **options):
  records = data.load(rows or str(drawn.path)).records
  view = data.view(records, Kind.SINGLE, NEEDS)
  return data.tokenize(view, drawn.tokenizer, **options)


def test_they_come_through_where_text_does_not(drawn):
  found = tokens_of(drawn)
  plain = [json.loads(line) for line in drawn.path.read_text().splitlines()]
  for row in plain:
    del row["completion_ids"], row["logprobs"]
    row["behaviour_logps"] = -1.0
  again = tokens_of(drawn, plain)
  changed = 0
  for n, x in enumerate(drawn.done):
    (u,), (v,) = found.completion_index[n], again.completion_index[n]
    assert found.completions[u].tolist() == list(x.ids)
    body = [i for i in again.completions[v].tolist() if i > 1]
    changed += body != [i for i in x.ids if i > 1]
  assert changed > 5  # of 40: what sampling drew and text forgot


def test_log_probs_stand_at_their_tokens(drawn):
  found = tokens_of(drawn)
  picked = found.take(np.array([3, 0, 3]))
  for n, i in enumerate((3, 0, 3)):
    x = drawn.done[i]
    (u,) = picked.behaviour_index[n]
    logps = np.array(x.logprobs, np.float32)
    np.testing.assert_array_equal(picked.behaviour_token_logps[u], logps)
    assert picked.behaviour_logps[n, 0] == pytest.approx(logps.sum(), abs=1e-4)
  whole = batch(found, np.arange(4))
  lengths = whole.completion_mask.sum(-1)[:, 0].tolist()
  assert lengths == [x.tokens for x in drawn.done[:4]]
  logps, mask = whole.behaviour_token_logps, whole.completion_mask
  assert (logps.shape, logps.dtype) == (mask.shape, np.float32)
  assert not logps[~mask].any()
  for n, x in enumerate(drawn.done[:4]):
    np.testing.assert_array_equal(
      logps[n, 0][mask[n, 0]], np.array(x.logprobs, np.float32)
    )
  np.testing.assert_allclose(logps.sum(-1), whole.behaviour_logps, atol=1e-4)


def test_a_cut_is_refused_where_log_probs_are_read(drawn):
  with pytest.raises(UserError, match="are of whole prompts and completions"):
    tokens_of(drawn, max_completion=3)


def test_the_cache_knows_the_tokens(drawn, tmp_path):
  first = tokens_of(drawn, cache=tmp_path)
  again = tokens_of(drawn, cache=tmp_path)
  assert any("tokens read from" in s for s in again.summary)
  np.testing.assert_array_equal(
    again.completions.tokens, first.completions.tokens
  )
  rows = [json.loads(line) for line in drawn.path.read_text().splitlines()]
  rows[0]["completion_ids"] = [*rows[0]["completion_ids"][:-1], 7]
  other = tokens_of(drawn, rows, cache=tmp_path)
  assert other.completions[other.completion_index[0, 0]][-1] == 7


def test_what_was_logged_is_said(drawn):
  found = tokens_of(drawn)
  ended = sum(x.finished for x in drawn.done)
  assert any(
    f"distinct completions by the token ids that were logged, not by their "
    f"texts; {ended} of them end with an end token" in s
    for s in found.summary
  )


def logged(ids, text):
  return {
    "prompt": "the",
    "completion": text,
    "reward": 1.0,
    "completion_ids": list(ids),
    "logprobs": [-1.0] * len(ids),
  }


def test_an_id_beyond_the_vocabulary_is_named_with_its_row(drawn):
  good = drawn.done[0]
  rows = [logged(good.ids, good.text), logged([5, 999], "?")]
  with pytest.raises(
    UserError, match=r"the list:1: the logged token id 999 is not of this tok"
  ):
    tokens_of(drawn, rows)


def test_ids_of_another_tokenizer_are_refused(drawn):
  ids = [drawn.tokenizer.encode([word])[0] for word in WORDS.split()]
  wrong = [
    logged(x, word) for x, word in zip(ids[1:], WORDS.split(), strict=False)
  ]
  with pytest.raises(UserError, match="the logged token ids of 13 of 13"):
    tokens_of(drawn, wrong)
  right = [logged(x, word) for x, word in zip(ids, WORDS.split(), strict=True)]
  said = tokens_of(drawn, [*right, wrong[0]]).summary
  assert any("1 of" in s and "decode to other texts" in s for s in said)


def test_tokens_of_a_conversation_follow_its_prompt(drawn):
  turns = [
    {"role": "user", "content": "the"},
    {"role": "assistant", "content": "cat"},
    {"role": "user", "content": "sat"},
  ]
  (ids,) = drawn.tokenizer.encode(["the mat"])
  row = {
    **logged([*ids, 1], ""),
    "prompt": turns,
    "completion": [{"role": "assistant", "content": "the mat"}],
  }
  found = tokens_of(drawn, [row])
  assert found.completions[0].tolist() == [*ids, 1]
  assert len(found.prompts[0]) > 3


@pytest.mark.parametrize("kind", [Kind.PAIR, Kind.GROUP])
def test_pairs_and_groups_keep_them(drawn, kind):
  tokenizer = drawn.tokenizer
  a, b = (x.tolist() for x in tokenizer.encode(["the cat", "that hat"]))
  group = {
    "prompt": "the",
    "completions": ["the cat", "that hat"],
    "rewards": [2.0, 1.0],
    "completion_ids": [a, b],
    "logprobs": [[-1.0] * len(a), [-2.0] * len(b)],
  }
  pair = {
    "prompt": "the",
    "chosen": "the cat",
    "rejected": "that hat",
    "chosen_ids": a,
    "rejected_ids": b,
    "chosen_logprobs": [-1.0] * len(a),
    "rejected_logprobs": [-2.0] * len(b),
  }
  for row in (group, pair) if kind is Kind.PAIR else (group,):
    records = data.load([row]).records
    view = data.view(records, kind, ("behaviour_logps",))
    found = data.tokenize(view, tokenizer)
    assert found.behaviour_logps.tolist() == [[-len(a), -2.0 * len(b)]]
    for index, ids, value in zip(
      found.behaviour_index[0], (a, b), (-1.0, -2.0), strict=True
    ):
      logps = found.behaviour_token_logps[index]
      assert logps.tolist() == [value] * len(ids)
