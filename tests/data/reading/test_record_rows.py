"""Records become rows that read back as the same records."""

import dataclasses

import pytest
import runs

from offalign import data
from offalign.data.reading.record_rows import rows_of

TALK = [{"role": "user", "content": "Hi\u2028there"}]
CALL = {"function": {"name": "add", "arguments": {"b": 1, "a": 2}}}
TOOL_TALK = [
  {"role": "user", "content": "1 + 2?"},
  {"role": "assistant", "content": "", "tool_calls": [CALL]},
  {"role": "tool", "content": "3", "name": "add"},
]


def said(text):
  return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
  "row",
  [
    {"prompt": "a", "completion": "b", "reward": 1.5},
    {"prompt": "a", "completion": "b", "reward": 1, "behaviour_logps": -2.5},
    {"prompt": "a", "completion": "b", "label": True},
    {"prompt": "a", "completion": "b", "reward": 0.1, "label": False},
    {"prompt": "a", "completion": "b"},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 0.5},
    {"chosen": "Q: one? A: b", "rejected": "Q: one? A: c"},
    {
      "prompt": "a",
      "chosen": "b",
      "rejected": "c",
      "chosen_rating": 4,
      "rejected_rating": 2,
    },
    {"prompt": TALK, "completion": said("b"), "reward": 1.0},
    {"prompt": TALK, "chosen": said("b"), "rejected": said("c")},
    {"messages": [*TALK, *said("b"), *TALK, *said("c")], "label": True},
    {
      "prompt": TOOL_TALK,
      "completion": said("3"),
      "reward": 1.0,
      "tools": [{"type": "function", "function": {"name": "add"}}],
    },
    {
      "prompt": TALK,
      "completion": [
        {"role": "assistant", "content": "b", "reasoning_content": "so"}
      ],
      "label": True,
    },
    {"instruction": "a", "input": "x", "output": "b"},
  ],
)
def test_rows_read_back_as_they_were(row, tmp_path):
  (record,) = data.load([row]).records
  path = runs.write(tmp_path / "back.jsonl", rows_of(record))
  (again,) = data.load(str(path)).records
  assert dataclasses.replace(again, source="") == dataclasses.replace(
    record, source=""
  )


def test_a_group_becomes_a_row_for_each_completion():
  row = {"prompt": "a", "completions": ["b", "c"], "rewards": [1.0, 0.0]}
  (record,) = data.load([row]).records
  assert rows_of(record) == [
    {"prompt": "a", "completion": "b", "reward": 1.0},
    {"prompt": "a", "completion": "c", "reward": 0.0},
  ]
