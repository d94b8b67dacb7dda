"""Reference log-probs of mismatched and cut sequences are data too."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import runs
from hypothesis import given
from hypothesis import strategies as st

from offalign import data
from offalign.data import Record
from offalign.data.batches.batch import next_valid
from offalign.reference import other_sequences
from offalign.training.run import Run
from offalign.types import Kind

TOKENIZER = data.make_tokenizer("byte")


def make_rows(n=5):
  """Pairs of completions of i + 1 and 2 i + 2 letters."""
  records = [
    Record(f"p{i}", ("a" * (i + 1), "b" * (2 * i + 2)), None, None, True, "f")
    for i in range(n)
  ]
  return data.tokenize(data.view(records, Kind.PAIR), TOKENIZER)


def number(prompt, completion):
  """A number that changes with any token."""
  tokens = np.concatenate([prompt, completion])
  return np.float32((tokens * np.arange(1, len(tokens) + 1)).sum() / 100)


def score(rows, what):
  found = [
    number(rows.prompts[q], rows.completions[u])
    for q, (u,) in zip(rows.prompt_index, rows.completion_index, strict=True)
  ]
  return dataclasses.replace(rows, ref_logps=np.array(found)[:, None])


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_partners_are_those_of_the_step(valid):
  weight = np.asarray(valid, np.float32)
  np.testing.assert_array_equal(
    next_valid(weight), next_valid(jnp.asarray(weight), jnp)
  )


@pytest.mark.parametrize("mine", [slice(None), np.array([1, 2])])
def test_each_prompt_is_scored_with_the_next_rows_completions(mine):
  rows = make_rows()
  batches = [
    (np.array([3, 0, 4]), np.ones(3, np.float32)),
    (np.array([1, 2, 2]), np.array([1, 1, 0], np.float32)),
  ]
  found = other_sequences.Mismatched(rows, iter(batches), score)
  for indices, weight in batches:
    whole = data.batch(rows, indices[mine])
    got = found.onto(whole, indices, weight, mine).ref_mismatched_logps
    after = indices[next_valid(weight)]
    want = [
      [
        number(rows.prompts[rows.prompt_index[i]], rows.completions[u])
        for u in rows.completion_index[j]
      ]
      for i, j in zip(indices, after, strict=True)
    ]
    np.testing.assert_array_equal(got, np.array(want)[mine])


def test_no_batch_to_come_needs_no_score():
  other_sequences.Mismatched(make_rows(), iter(()), None)
  rows = make_rows()
  found = other_sequences.with_prefixes(rows, np.arange(0), score)
  assert found.ref_prefix_logps.shape == rows.completion_index.shape
  assert np.isnan(found.ref_prefix_logps).all()


def test_beginnings_are_as_long_as_the_rows_shortest_completion():
  rows = make_rows()
  found = other_sequences.with_prefixes(rows, np.array([1, 3]), score)
  logps = found.ref_prefix_logps
  assert np.isnan(logps[[0, 2, 4]]).all()
  for i in (1, 3):
    a, b = (rows.completions[u] for u in rows.completion_index[i])
    prompt = rows.prompts[rows.prompt_index[i]]
    assert len(a) < len(b)
    assert logps[i].tolist() == [
      number(prompt, a),
      number(prompt, b[: len(a)]),
    ]
  picked = data.batch(found, np.array([3, 1]))
  np.testing.assert_array_equal(picked.ref_prefix_logps, logps[[3, 1]])


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["kto", "ld_dpo"])
def test_training_holds_no_reference_weights(loss, tmp_path, one_device):
  """And an untrained policy has the reference's log-probs, to rounding."""
  log = runs.write_log(tmp_path / "log.jsonl")
  run = Run(runs.config(log, tmp_path / "run", loss=loss))
  seen = []
  step = run.learner.train_step

  def watched(state, batch, ref):
    seen.append((ref, run._first, batch))
    return step(state, batch, ref)

  run.learner.__dict__["train_step"] = watched
  policy = run._first
  run.train()
  assert [(ref, first) for ref, first, _ in seen] == [(None, None)] * 4
  batch = seen[0][2]
  columns = run.learner._objective._columns
  held = columns({"policy": policy}, batch, None, None)
  bare = dataclasses.replace(
    batch, ref_mismatched_logps=None, ref_prefix_logps=None
  )
  online = columns({"policy": policy}, bare, policy, None)
  name = "kl" if loss == "kto" else "ref_prefix_logps"
  np.testing.assert_allclose(held[name], online[name], atol=1e-4)
