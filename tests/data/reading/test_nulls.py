"""Tools and calls of columnar files are those that were written."""

import copy

import chat_cases
import pytest

from offalign import data
from offalign.data.reading.nulls import without_filling

OTHER = {
  "type": "function",
  "function": {
    "name": "time",
    "description": "now",
    "parameters": {
      "type": "object",
      "properties": {"zone": {"type": "string"}},
    },
  },
}
CALL = {"type": "function", "function": {"name": "time", "arguments": {}}}
CALL["function"]["arguments"] = {"zone": "UTC"}
TOOL = copy.deepcopy(chat_cases.TOOL)
ROW = {
  "messages": [
    chat_cases.user("u"),
    chat_cases.reply("", tool_calls=[{**chat_cases.CALL, "id": "1"}]),
    chat_cases.SAID,
    chat_cases.reply("x", tool_calls=[CALL]),
  ],
  "tools": [TOOL, OTHER],
}


def sorted_keys(value):
  if isinstance(value, list):
    return [sorted_keys(item) for item in value]
  if isinstance(value, dict):
    return {key: sorted_keys(value[key]) for key in sorted(value)}
  return value


def test_parquet_gives_the_same_conversation(write):
  row = sorted_keys(ROW)  # a struct's keys have an order of their own
  (lines,) = data.load(write([row], "rows.jsonl")).records
  (parquet,) = data.load(write([row], "rows.parquet")).records
  for one, other in zip(lines.prompt, parquet.prompt, strict=True):
    assert "null" not in other.content
    assert sorted(one.content) == sorted(other.content)
  assert parquet.completions[0].parts == lines.completions[0].parts


def test_so_does_a_dataset():
  datasets = pytest.importorskip("datasets")
  found = datasets.Dataset.from_list([sorted_keys(ROW)])
  (record,) = data.load(found).records
  assert "null" not in record.prompt[0].content
  assert record.completions[0].parts["tool_calls"] == [CALL]


def test_nulls_elsewhere_stay():
  row = {"reward": None, "messages": [{"name": None, "tool_calls": None}]}
  assert without_filling(row) == row
