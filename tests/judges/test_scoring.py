"""Completions and a function, or a reward model, become rows to train on."""

import json

import numpy as np
import pytest

from offalign.data import load
from offalign.errors import UserError
from offalign.generation import completions
from offalign.judges import scoring

TALK = [{"role": "user", "content": "hi"}]
LINES = [
  {"prompt": "a", "completion": "long one", "tokens": 3, "finished": True},
  {"prompt": "a", "completion": "b", "tokens": 9, "finished": False},
  {"prompt": TALK, "completion": "hello"},
]


@pytest.fixture
def found(tmp_path):
  path = tmp_path / "new.jsonl"
  path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
  return completions.read(path)


@pytest.fixture
def mine(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(
    "def score(prompt, completion):\n  return len(completion) + 0.5\n"
    "def bad(prompt, completion):\n  return float('nan')\n"
  )
  return path


def test_the_rows_are_data_to_train_on(found, mine, tmp_path):
  rewards = scoring.by_function(found, f"{mine}:score")
  np.testing.assert_array_equal(rewards, [8.5, 1.5, 5.5])
  plain, talk = tmp_path / "plain.jsonl", tmp_path / "talk.jsonl"
  *texts, last = scoring.rows(found, rewards)
  plain.write_text("\n".join(texts))
  talk.write_text(last)
  table = load(plain)
  assert [r.rewards for r in table.records] == [(8.5,), (1.5,)]
  assert [r.completions for r in table.records] == [("long one",), ("b",)]
  (record,) = load(talk).records
  assert record.prompt == (("user", "hi"),)
  assert (record.completions, record.rewards) == (("hello",), (5.5,))
  # What was known of the ends is kept, and a judge reads the rows as well.
  assert json.loads(texts[1])["finished"] is False
  assert completions.read(plain).texts == ("long one", "b")


def test_tokens_that_were_drawn_stay_with_their_rewards(mine, tmp_path):
  logged = {"completion_ids": [5, 1], "logprobs": [-0.5, -1.0]}
  path, rated = tmp_path / "new.jsonl", tmp_path / "rated.jsonl"
  path.write_text(json.dumps({**LINES[0], **logged}))
  found = completions.read(path)
  rewards = scoring.by_function(found, f"{mine}:score")
  rated.write_text("\n".join(scoring.rows(found, rewards)))
  (record,) = load(rated).records
  assert record.ids[0].tolist() == [5, 1]
  assert (record.rewards, record.behaviour_logps) == ((8.5,), (-1.5,))


def test_what_gives_no_number_is_refused(found, mine):
  with pytest.raises(UserError, match="must return a finite number"):
    scoring.by_function(found, f"{mine}:bad")
  with pytest.raises(UserError, match="cannot be had"):
    scoring.by_function(found, f"{mine}:none")


def test_a_run_that_is_no_reward_model_is_refused(found, tmp_path):
  with pytest.raises(UserError, match="is not a run folder"):
    scoring.by_reward_model(found, str(tmp_path))
