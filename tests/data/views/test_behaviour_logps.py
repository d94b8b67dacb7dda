"""Log-probs logged with the completions: read, carried, refused."""

import json

import numpy as np
import pytest

from offalign import data, losses
from offalign.data.batches.batch import batch
from offalign.data.text import tokenizer
from offalign.errors import UserError
from offalign.types import Kind

NEEDS = ("rewards", "behaviour_logps")


def load(tmp_path, rows):
  path = tmp_path / "rows.jsonl"
  path.write_text("\n".join(map(json.dumps, rows)))
  return data.load(str(path)).records


def trajectory(i, **more):
  return {"prompt": f"q{i // 2}", "completion": f"a{i}", "reward": i, **more}


@pytest.mark.parametrize("form", ["traj", "groups"])
def test_they_stand_beside_the_rewards_of_their_completions(tmp_path, form):
  rows = [trajectory(i, behaviour_logps=-0.5 - i) for i in range(4)]
  if form == "groups":
    rows = [
      {
        "prompt": f"q{j}",
        "completions": [f"a{2 * j}", f"a{2 * j + 1}"],
        "rewards": [2 * j, 2 * j + 1],
        "behaviour_logps": [-0.5 - 2 * j, -1.5 - 2 * j],
      }
      for j in range(2)
    ]
  view = data.view(load(tmp_path, rows), Kind.GROUP, NEEDS)
  made = tokenizer.make("byte")
  whole = batch(data.tokenize(view, made), np.array([1, 0]))
  assert whole.behaviour_logps.dtype == np.float32
  assert whole.behaviour_logps.tolist() == [[-2.5, -3.5], [-0.5, -1.5]]
  assert whole.rewards.tolist() == [[2.0, 3.0], [0.0, 1.0]]
  with pytest.raises(UserError, match="cuts 4 of them"):
    data.tokenize(view, made, max_completion=2)


def test_a_loss_that_does_not_read_them_is_not_given_them(tmp_path):
  rows = [trajectory(i, behaviour_logps=-1.0) for i in range(4)]
  records = load(tmp_path, rows)
  for kind in Kind:
    view = data.view(records, kind, ("rewards",))
    assert {row.behaviour_logps for row in view.rows} == {None}


def test_their_absence_is_named(tmp_path):
  records = load(tmp_path, [trajectory(i) for i in range(4)])
  with pytest.raises(UserError, match="has no column 'behaviour_logps'"):
    data.view(records, Kind.GROUP, NEEDS)


def test_sums_do_not_serve_a_loss_that_reads_tokens(tmp_path):
  """And it is not sent to log them first."""
  needs = losses.get("ppo").needs
  for given in ({}, {"behaviour_logps": -1.0}):
    records = load(tmp_path, [trajectory(i, **given) for i in range(4)])
    with pytest.raises(UserError, match="no columns 'completion_ids' and"):
      data.view(records, Kind.SINGLE, needs)
