import itertools
import json
import math

import pytest

from offalign import data
from offalign.data import Message
from offalign.errors import UserError


def user(text):
  return {"role": "user", "content": text}


def reply(text):
  return {"role": "assistant", "content": text}


def one(write, row, name="rows.jsonl", **options):
  (record,) = data.load(write([row], name), **options).records
  return record


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_conversations(write, name):
  turns = [
    {"role": "system", "content": "s"},
    user("u"),
    reply("v"),
    user("w"),
  ]
  prompt = tuple(Message(t["role"], t["content"]) for t in turns)
  row = {"prompt": turns, "chosen": [reply("a")], "rejected": [reply("b")]}
  record = one(write, row, name)
  assert (record.prompt, record.completions) == (prompt, ("a", "b"))
  row = {"prompt": turns, "completion": [reply("a")], "reward": 1.0}
  assert one(write, row, name).completions == ("a",)
  row = {
    "prompt": turns,
    "completions": [[reply("a")], [reply("b")]],
    "rewards": [1.0, 0.0],
  }
  assert one(write, row, name).completions == ("a", "b")


def test_extra_keys_of_a_message_count_only_if_they_hold_something(write):
  quiet = {**user("u"), "name": None}
  row = {"prompt": [quiet], "completion": [reply("a")]}
  assert one(write, row).prompt == (Message("user", "u"),)
  row["prompt"] = [{**user("u"), "tool_calls": [1]}]
  with pytest.raises(UserError, match="'tool_calls', which only messages of"):
    data.load(write([row]))


@pytest.mark.parametrize("empty", [None, [], {}, "", " ", "null", "[]", "{}"])
@pytest.mark.parametrize(
  "key", ["tool_calls", "images", "function_call", "reasoning_content", "name"]
)
def test_what_is_empty_is_absent(write, key, empty):
  row = {"messages": [{**user("u"), key: empty}, {**reply("a"), key: empty}]}
  table = data.load(write([row]))
  assert table.records[0].prompt == (Message("user", "u"),)
  assert "not read" not in str(table.summary)


def test_an_empty_system_message_is_absent(write):
  for role, empty in itertools.product(("system", "developer"), ("", None)):
    turns = [{"role": role, "content": empty}, user("u"), reply("a")]
    assert one(write, {"messages": turns}).prompt == (Message("user", "u"),)
  with pytest.raises(UserError, match="no message that says anything"):
    data.load(
      write([{"prompt": [turns[0]], "completion": [reply("a")], "reward": 1}])
    )


def test_metadata_of_messages_is_listed_as_not_read(write):
  said = {**reply("a"), "weight": 0, "id": "7f", "train": False}
  table = data.load(write([{"messages": [user("u"), said]}]))
  assert table.records[0].completions == ("a",)
  (line,) = (s for s in table.summary.sentences if "not read" in s)
  assert line == "keys of messages not read: 'weight', 'id', 'train'"


def test_a_developer_message_is_read(write):
  turns = [{"role": "developer", "content": "d"}, user("u"), reply("a")]
  assert one(write, {"messages": turns}).prompt == (
    Message("developer", "d"),
    Message("user", "u"),
  )


@pytest.mark.parametrize("as_text", [False, True])
def test_tools_come_before_the_conversation(write, as_text):
  row = {"prompt": [user("u")], "completion": [reply("a")]}
  tools = [{"name": "f", "description": "é"}]
  row["tools"] = json.dumps(tools) if as_text else tools
  table = data.load(write([row]))
  (record,) = table.records
  assert record.prompt == (
    Message("tools", '[{"name": "f", "description": "é"}]'),
    Message("user", "u"),
  )
  assert "not read" not in str(table.summary)
  assert one(write, {**row, "tools": []}).prompt == record.prompt[1:]
  assert one(write, {**row, "tools": "null"}).prompt == record.prompt[1:]


def test_tools_of_plain_text_are_a_column_like_any_other(write):
  plain = {"prompt": "u", "completion": "a", "tools": "hammer"}
  table = data.load(write([plain]))
  assert table.records[0].prompt == "u"
  assert "columns not read: tools" in str(table.summary)


def test_what_pandas_leaves_in_place_of_nothing_is_absent():
  said = {"instruction": "x", "output": "y", "input": math.nan}
  assert data.load([said]).records[0].prompt == "x"
  turns = [user("u"), reply("a")]
  for lacking in ({"tools": math.nan}, {"tools": None}):
    (record,) = data.load([{"messages": turns, **lacking}]).records
    assert record.prompt == (Message("user", "u"),)
