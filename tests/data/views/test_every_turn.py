"""All turns of the assistant: rows, refusals, and what stays the same."""

import dataclasses
import json

import chat_cases
import pytest

from offalign import data
from offalign.data import Tokenizer, ViewOptions
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.views.options import for_each
from offalign.errors import UserError
from offalign.types import Kind

ALL = ViewOptions(train_on="all")
TALK = [
  ("system", "s"),
  ("user", "a"),
  ("assistant", "b"),
  ("user", "c"),
  ("assistant", "d"),
  ("user", "e"),
]
CALLED = {"role": "assistant", "tool_calls": [chat_cases.CALL]}


def load(*rows):
  return data.load([{"messages": turns} for turns in rows]).records


def conversation(*turns, last="f"):
  return chat_cases.dicts([*turns, ("assistant", last)])


def rows_of(records, options=ALL):
  return data.view(records, Kind.SINGLE, options=options).rows


def test_each_turn_is_a_row_after_what_comes_before():
  made = data.view(load(conversation(*TALK)), Kind.SINGLE, options=ALL)
  talk = chat_cases.messages(TALK)
  assert [(row.prompt, row.completions) for row in made.rows] == [
    (talk[:2], ("b",)),
    (talk[:4], ("d",)),
    (talk, ("f",)),
  ]
  assert {row.sources for row in made.rows} == {("the list:0",)}
  assert made.summary.counts["turns"] == 3
  assert made.summary.counts["completions_used"] == 1
  assert str(made.summary).startswith(
    "every turn of the assistant: 3 turns of 1 row of data, each a row of "
    "weight 1 whose prompt is what comes before it"
  )


def test_one_turn_is_the_same_as_the_last():
  records = load(conversation(("user", "a")), conversation(("user", "b")))
  last = ViewOptions(train_on="last")
  assert rows_of(records) == rows_of(records, last)
  assert rows_of(records) == rows_of(records, ViewOptions())


def test_a_greeting_has_nothing_before_it():
  tools = [chat_cases.TOOL]
  turns = conversation(("assistant", "hello"), ("user", "a"))
  records = data.load([{"messages": turns, "tools": tools}]).records
  made = data.view(records, Kind.SINGLE, options=ALL)
  assert [row.completions for row in made.rows] == [("f",)]
  assert "1 turn left out that nothing comes before" in str(made.summary)


def test_calls_are_turns_and_tools_stay_in_front():
  turns = [chat_cases.user("a"), CALLED, chat_cases.SAID]
  turns.append(chat_cases.reply("3"))
  records = data.load(
    [{"messages": turns, "tools": json.dumps([chat_cases.TOOL])}]
  ).records
  first, last = rows_of(records)
  assert [message.role for message in first.prompt] == ["tools", "user"]
  assert first.completions == (
    WholeMessage.of("", {"tool_calls": [chat_cases.CALL]}),
  )
  assert [message.role for message in last.prompt] == [
    "tools",
    "user",
    "assistant",
    "tool",
  ]


def test_a_template_writes_each_turn_as_when_the_model_was_asked(tmp_path):
  chat_cases.write(
    tmp_path, chat_cases.THINKING, added=chat_cases.THINKING_TOKENS
  )
  tokenizer = Tokenizer.load(tmp_path)
  turns = [
    chat_cases.user("a"),
    chat_cases.reply("b", reasoning_content="why b"),
    chat_cases.user("c"),
    chat_cases.reply("d", reasoning_content="why d"),
  ]
  made = data.view(load(turns), Kind.SINGLE, options=ALL)
  rows = data.tokenize(made, tokenizer)
  texts = [
    tokenizer._backend.decode(ids.tolist(), skip_special_tokens=False)
    for ids in (*rows.prompts, *rows.completions)
  ]
  assert texts == [
    "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n",
    "<think>\nwhy b\n</think>\n\nb<|im_end|>",
    "<think>\nwhy d\n</think>\n\nd<|im_end|>",
  ]


@pytest.mark.parametrize(
  ("change", "kind", "needs", "error"),
  [
    ({"label": True}, Kind.SINGLE, ["labels"], "reads feedback, which is of"),
    ({"reward": 1}, Kind.SINGLE, ["rewards"], "imitate all turns first"),
    ({"label": True}, Kind.SINGLE, [], "the data has feedback, which is of"),
    ({"reward": 1}, Kind.PAIR, [], "reads feedback"),
    ({"reward": 1}, Kind.GROUP, [], "reads feedback"),
  ],
)
def test_feedback_is_of_the_last_turn(change, kind, needs, error):
  rows = [{"messages": conversation(*TALK), **change}]
  with pytest.raises(UserError, match=f"^train_on='?all'?, but .*{error}"):
    data.view(data.load(rows).records, kind, needs, ALL)


def test_plain_text_has_no_turns_and_there_is_no_third_choice():
  records = data.load([{"prompt": "a", "completion": "b"}]).records
  with pytest.raises(UserError, match="plain text, not conversations"):
    rows_of(records)
  with pytest.raises(UserError, match="train_on='each' is none of last, all"):
    rows_of(records, dataclasses.replace(ALL, train_on="each"))
  (row,) = rows_of(records, ViewOptions(train_on="last"))
  assert row.completions == ("b",)


def test_two_tables_only_one_of_which_has_turns():
  talks = load(conversation(*TALK))
  plain = data.load([{"prompt": "a", "completion": "b"}]).records
  first, other = for_each(ALL, [talks[0], plain[0]])
  assert (first.train_on, other.train_on) == ("all", None)
  assert for_each(ALL, [plain[0]]) == [ALL]
