"""What a run holds out is written down, and read by others."""

import numpy as np
import pytest

from offalign import data
from offalign.errors import UserError
from offalign.policy import held_out
from offalign.policy.held_out import Known, number

ROWS = [
  {"prompt": f"is {i // 2} a number?", "completion": "yes", "reward": i}
  for i in range(6)
]


@pytest.fixture
def records():
  return data.load(ROWS).records


def test_what_is_written_reads_back(records, tmp_path):
  held_out.write(tmp_path, records[:4], [records[4].prompt], None)
  again = data.load(str(tmp_path / "held_out.jsonl"))
  assert again.summary.form == "traj"
  assert [r.rewards for r in again.records] == [(0,), (1,), (2,), (3,)]
  prompts = ("is 0 a number?", "is 1 a number?")
  assert held_out.prompts(tmp_path) == prompts
  assert held_out.asked(tmp_path, "heldout") == prompts
  assert held_out.read_known(tmp_path) == Known(
    frozenset({number("is 2 a number?")}),
    frozenset(map(number, prompts)),
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "held_out.jsonl",
    "prompts.npz",
  ]


def test_what_runs_before_trained_on_is_kept(records, tmp_path):
  trained, held = number("old"), number("kept")
  met = number(records[4].prompt)
  before = Known(frozenset({trained}), frozenset({held, met}))
  held_out.write(tmp_path, records[:2], [records[4].prompt], before)
  assert held_out.read_known(tmp_path) == Known(
    frozenset({trained, met}), frozenset({held, number(records[0].prompt)})
  )


def test_a_run_that_holds_nothing_out(records, tmp_path):
  held_out.write(tmp_path, [], [r.prompt for r in records], None)
  with pytest.raises(UserError, match="the run held nothing out"):
    held_out.asked(tmp_path, "heldout")


def test_a_damaged_file_of_hashes_is_named(tmp_path):
  assert held_out.read_known(tmp_path) is None
  path = tmp_path / "prompts.npz"
  for content in (b"", b"PK\x03\x04garbage", b"text"):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"prompts\.npz cannot be read"):
      held_out.read_known(tmp_path)
  np.savez(path, trained=np.zeros(2), held_out=np.zeros(2))
  with pytest.raises(UserError, match="holds no hashes of prompts"):
    held_out.read_known(tmp_path)


def test_whether_a_run_holds_out_plain_text(records, tmp_path):
  assert not held_out.are_plain(tmp_path)  # nothing is known
  held_out.write(tmp_path, records, [], None)
  assert held_out.are_plain(tmp_path)
  turns = [{"role": "user", "content": "hi"}]
  reply = [{"role": "assistant", "content": "hi"}]
  chats = data.load([{"prompt": turns, "completion": reply}] * 2).records
  held_out.write(tmp_path, [*records, *chats], [], None)
  assert not held_out.are_plain(tmp_path)
