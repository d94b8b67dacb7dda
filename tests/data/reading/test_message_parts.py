"""Messages with parts, reasoning, tool calls and answers of tools."""

import copy
import json

import chat_cases
import pytest

from offalign import data
from offalign.data import Message
from offalign.data.reading.parsing import messages_of
from offalign.data.reading.whole_message import WholeMessage
from offalign.errors import UserError

USER, REPLY = chat_cases.user("u"), chat_cases.reply("a")
CALLED = {"role": "assistant", "tool_calls": [chat_cases.CALL]}


def load(write, *turns, name="rows.jsonl", **columns):
  (record,) = data.load(
    write([{"messages": list(turns), **columns}], name)
  ).records
  return record


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_a_conversation_with_tools(write, name):
  final = chat_cases.reply("3", reasoning_content="so")
  record = load(
    write,
    USER,
    {**CALLED, "content": None},
    chat_cases.SAID,
    final,
    name=name,
    tools=[chat_cases.TOOL],
  )
  tools, user, called, answer = record.prompt
  if name.endswith("jsonl"):
    assert json.loads(tools.content) == [chat_cases.TOOL]
  assert user == Message("user", "u")
  assert called.role == "assistant"
  assert called.content.parts == {
    "content": "",
    "tool_calls": [chat_cases.CALL],
  }
  assert (answer.role, answer.content.parts) == (
    "tool",
    {
      "content": '{"degrees": 3}',
      "tool_call_id": "call00001",
      "name": "weather",
    },
  )
  assert record.completions[0].parts == {
    "content": "3",
    "reasoning_content": "so",
  }


def test_calls_are_completions_of_pairs_and_groups(write):
  row = {"prompt": [USER], "chosen": [CALLED], "rejected": [REPLY]}
  (record,) = data.load(write([row])).records
  chosen = WholeMessage.of("", {"tool_calls": [chat_cases.CALL]})
  assert record.completions == (chosen, "a")
  row = {"chosen": [USER, CALLED], "rejected": [USER, REPLY]}
  (record,) = data.load(write([row])).records
  assert (record.prompt, record.completions) == (
    (Message("user", "u"),),
    (chosen, "a"),
  )
  row = {"prompt": [USER], "completions": [[CALLED], [REPLY]]}
  (record,) = data.load(write([{**row, "rewards": [1, 0]}])).records
  assert record.completions == (chosen, "a")


def test_calls_in_the_order_of_their_keys_and_as_json_text(write):
  call = {"name": "f", "arguments": '{"b": 1,"a": 2}', "x": None}
  for calls in ([call], json.dumps([call])):
    record = load(write, USER, {**CALLED, "tool_calls": calls})
    assert str(record.completions[0]) == (
      '{"content": "", "tool_calls": [{"name": "f", "arguments": '
      '"{\\"b\\": 1,\\"a\\": 2}", "x": null}]}'
    )


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_under_its_three_names(write, key):
  record = load(write, USER, {**REPLY, key: "why"})
  assert record.completions[0].parts == {"content": "a", key: "why"}
  both = {**REPLY, "reasoning": "why", "reasoning_content": "why"}
  assert load(write, USER, both).completions[0].parts == {
    "content": "a",
    "reasoning_content": "why",
  }


def test_parts_that_are_all_text_are_text(write):
  parts = [
    {"type": "text", "text": "a "},
    {"type": "input_text", "text": "b", "image_url": None},
    "c",
    {"text": "d"},
  ]
  record = load(write, {"role": "user", "content": parts}, REPLY)
  assert record.prompt == (Message("user", "a bcd"),)


def test_metadata_beside_what_is_read_is_listed(write):
  said = {**chat_cases.SAID, "status": "ok"}
  named = {**USER, "name": "Ann"}
  rows = [{"messages": [named, {**CALLED, "id": "7"}, said, REPLY]}]
  table = data.load(write(rows))
  (line,) = (s for s in table.summary.sentences if "not read" in s)
  assert line == "keys of messages not read: 'name', 'id', 'status'"


def deep(levels):
  made = "x"
  for _ in range(levels):
    made = [made]
  return made


def bad_call(**change):
  call = copy.deepcopy(chat_cases.CALL)
  call["function"] |= change
  return {**CALLED, "tool_calls": [call]}


@pytest.mark.parametrize(
  ("turns", "error"),
  [
    (
      [{**USER, "content": [{"type": "image_url", "image_url": "x"}]}, REPLY],
      r"message 0 \(user\): part 0 of its content is of type 'image_url', and "
      "only text is read",
    ),
    (
      [{**USER, "content": [{"type": "text", "text": 3}]}, REPLY],
      "the number 3 where text belongs",
    ),
    ([{**USER, "images": ["x"]}, REPLY], "'images', which is not supported"),
    ([USER, {**REPLY, "function_call": {"name": "f"}}], "an old form .*write"),
    (
      [USER, {"role": "function", "content": "3"}, REPLY],
      "message 1 has role 'function', an old name; call it 'tool'",
    ),
    ([{**USER, "tool_calls": [1]}, REPLY], "only messages of the assistant"),
    ([{**USER, "thinking": "x"}, REPLY], "only messages of the assistant hav"),
    ([{**USER, "tool_call_id": "x"}, REPLY], "only messages of role 'tool'"),
    ([USER, {**REPLY, "thinking": True}], "the boolean true where text belo"),
    (
      [USER, {**REPLY, "thinking": "x", "reasoning": "y"}],
      "has 'reasoning' and another text as 'thinking'; keep one",
    ),
    ([USER, {**CALLED, "tool_calls": "{"}], "'tool_calls': text that is not J"),
    ([USER, {**CALLED, "tool_calls": {"a": 1}}], "is an object, not a list"),
    ([USER, {**CALLED, "tool_calls": ["f"]}], "tool call 0 is the text 'f'"),
    ([USER, {**CALLED, "tool_calls": [{"id": "1"}]}], "0 names no function;"),
    ([USER, bad_call(arguments=[1])], "its arguments are a list, not an obj"),
    ([USER, bad_call(arguments={"x": deep(70)})], "nested more than 64 deep"),
    ([USER, bad_call(arguments="\ud800")], "half of a surrogate pair"),
    ([USER, {"role": "assistant", "tool_calls": []}], "has 'role'.* where"),
  ],
)
def test_what_is_refused_has_its_cure(write, turns, error):
  with pytest.raises(UserError, match=error):
    data.load([{"messages": turns}])


@pytest.mark.parametrize(
  ("tools", "error"),
  [
    ("hammer", "text that is not JSON"),
    ({"a": 1}, "an object where a list of tools belongs"),
    ([3], "tool 0 has no name; write"),
    ([{"type": "function"}], "tool 0 has no name"),
    ([{"name": "f", "parameters": deep(70)}], "nested more than 64 deep"),
    ("[" * 100_000, "text that is not JSON"),
    ([{"name": "f", "x": float("nan")}], "not JSON"),
  ],
)
def test_tools_that_are_none(tools, error):
  with pytest.raises(UserError, match=f"column 'tools': .*{error}"):
    data.load([{"messages": [USER, REPLY], "tools": tools}])


def test_tools_as_a_list_of_json_texts():
  rows = [{"messages": [USER, REPLY], "tools": [json.dumps(chat_cases.TOOL)]}]
  (record,) = data.load(rows).records
  assert json.loads(record.prompt[0].content) == [chat_cases.TOOL]


def test_a_tool_may_answer_nothing():
  turns = [USER, CALLED, {"role": "tool", "content": ""}, REPLY]
  (record,) = data.load([{"messages": turns}]).records
  assert record.prompt[-1] == Message("tool", "")


def test_prompts_from_python_are_pairs_or_messages():
  pairs = [("system", "s"), ("user", "u")]
  assert messages_of(pairs) == tuple(Message(*pair) for pair in pairs)
  assert messages_of("u") == "u"
  assert messages_of(chat_cases.dicts(pairs)) == messages_of(pairs)
  mixed = [
    ("tools", json.dumps([chat_cases.TOOL])),
    USER,
    CALLED,
    ("tool", "3"),
  ]
  found = messages_of(mixed)
  assert [message.role for message in found] == [
    "tools",
    "user",
    "assistant",
    "tool",
  ]
  assert found[2].content.parts["tool_calls"] == [chat_cases.CALL]
  with pytest.raises(UserError, match="tool 0 has no name"):
    messages_of([("tools", "[3]"), ("user", "u")])
  with pytest.raises(UserError, match="text that is not JSON"):
    messages_of([("tools", "[" * 100_000), ("user", "u")])
  with pytest.raises(UserError, match=r"role 'sys'.*roles: "):
    messages_of([{"role": "sys", "content": "x"}])
