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


def test_traj_with_and_without_labels(write):
  row = {"prompt": "x", "completion": "y", "reward": 2}
  record = one(write, row)
  assert (record.prompt, record.completions) == ("x", ("y",))
  assert (record.rewards, record.labels) == ((2.0,), None)
  assert isinstance(record.rewards[0], float)
  assert not record.ranked
  assert one(write, {**row, "label": True}).labels == (True,)


def test_label_sft_and_groups(write):
  record = one(write, {"prompt": "x", "completion": "y", "label": False})
  assert (record.rewards, record.labels) == (None, (False,))
  record = one(write, {"prompt": "x", "completion": "y"})
  assert (record.rewards, record.labels) == (None, None)
  row = {"prompt": "x", "completions": ["a", "b"], "rewards": [1, -0.5]}
  record = one(write, row)
  assert (record.completions, record.rewards) == (("a", "b"), (1.0, -0.5))


@pytest.mark.parametrize(
  "names",
  [
    ("chosen_reward", "rejected_reward"),
    ("score_chosen", "score_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
  ],
)
def test_pairs(write, names):
  row = {"prompt": "x", "chosen": "a", "rejected": "b"}
  record = one(write, row)
  assert record.ranked
  assert (record.completions, record.rewards) == (("a", "b"), None)
  record = one(write, {**row, names[0]: 1, names[1]: 3})
  assert record.rewards == (1.0, 3.0)


def test_margins_of_pairs(write):
  row = {"prompt": "x", "chosen": "a", "rejected": "b"}
  assert one(write, row).margin is None
  for margin in (2, -1.5, 0):
    record = one(write, {**row, "margin": margin})
    assert (record.margin, record.rewards) == (margin, None)
  assert one(write, {**row, "margin": None}).margin is None
  # Of other forms it is a column like any other.
  table = data.load(write([{"prompt": "x", "completion": "a", "margin": 1}]))
  assert "columns not read: margin" in str(table.summary)


@pytest.mark.parametrize(
  ("margin", "why"),
  [
    ("1.0", "write numbers without quotes"),
    ("slightly better", "where a number belongs"),
    (True, "the boolean true"),
    (1e39, "too large"),
    ([1.0], "a list where a number belongs"),
  ],
)
def test_a_margin_that_is_no_number_is_refused(write, margin, why):
  row = {"prompt": "x", "chosen": "a", "rejected": "b", "margin": margin}
  with pytest.raises(UserError, match=why) as error:
    one(write, row)
  assert "row 0, column 'margin'" in str(error.value)
  assert "rename a column of another meaning" in str(error.value)


def test_margins_that_are_missing_are_counted(write):
  row = {"prompt": "x", "chosen": "a", "rejected": "b"}
  rows = [{**row, "margin": margin} for margin in (1.0, None, -2.0)]
  said = str(data.load(write(rows)).summary)
  assert "1 pair without a margin" in said
  assert "1 pair with a margin below 0 (kept in this order)" in said
  table = data.load(write([{**row, "margin": None}] * 2))
  assert "columns not read: margin" in str(table.summary)


def test_both_names_of_pair_rewards_read_one_and_say_so(write):
  row = {"prompt": "x", "chosen": "a", "rejected": "b"}
  row |= {"chosen_reward": 1, "rejected_reward": 0}
  row |= {"score_chosen": 9, "score_rejected": 8}
  table = data.load(write([row]))
  assert table.records[0].rewards == (1.0, 0.0)
  assert "columns not read: score_chosen, score_rejected" in str(table.summary)


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


def test_implicit_prompt_of_conversations(write):
  head = [user("u"), reply("v"), user("w")]
  row = {"chosen": [*head, reply("a")], "rejected": [*head, reply("b")]}
  record = one(write, row)
  assert [m.content for m in record.prompt] == ["u", "v", "w"]
  assert record.completions == ("a", "b")
  # Equal replies: the prompt is still known.
  row["rejected"] = row["chosen"]
  assert one(write, row).completions == ("a", "a")
  # With the first turn repeated as text, as in well-known data sets.
  table = data.load(write([{**row, "prompt": "u"}]))
  assert [m.content for m in table.records[0].prompt] == ["u", "v", "w"]
  assert "column 'prompt' was set aside" in str(table.summary)


@pytest.mark.parametrize(
  ("chosen", "rejected", "expected"),
  [
    ("The sky is blue", "The sky is green", ("The sky is", " blue", " green")),
    ("The sky is blue", "The sky is black", ("The sky is", " blue", " black")),
    ("Q: a\n\nA: yes", "Q: a\n\nA: no", ("Q: a\n\nA:", " yes", " no")),
    ("Q\nyes", "Q\nyet", ("Q\n", "yes", "yet")),
    ("yes sir", "no sir", ("", "yes sir", "no sir")),
    ("a b", "a b c", ("a b", "", " c")),
    ("a b", "a bc", ("a", " b", " bc")),
    (" x", " y", ("", " x", " y")),
    ("", "x", ("", "", "x")),
  ],
)
def test_implicit_prompt_of_text(write, chosen, rejected, expected):
  record = one(write, {"chosen": chosen, "rejected": rejected})
  assert (record.prompt, *record.completions) == expected
  assert record.prompt + record.completions[0] == chosen
  assert record.prompt + record.completions[1] == rejected


@pytest.mark.parametrize(
  ("row", "what"),
  [
    ({"prompt": "x"}, "without 'completion'"),
    ({"prompt": "x", "reward": 1}, "without 'completion'"),
    ({"completion": "y", "reward": 1}, "without 'prompt'"),
    ({"prompt": "x", "chosen": "a"}, "without 'rejected'"),
    ({"prompt": "x", "completions": ["a"]}, "without 'rewards'"),
    ({"text": "x"}, "make no form that is known"),
    ({"chosen": "a", "rejected": "b", "chosen_reward": 1}, "but no 'rejected_"),
  ],
)
def test_columns_that_make_no_form(write, row, what):
  with pytest.raises(UserError, match=what) as error:
    data.load(write([row]))
  assert all(column in str(error.value) for column in row)


def test_two_forms_at_once_are_told_apart_by_an_option(write):
  row = {"prompt": "x", "completion": "y", "chosen": "a", "rejected": "b"}
  path = write([row])
  with pytest.raises(UserError, match="'pairs' and 'sft'; say which"):
    data.load(path)
  table = data.load(path, form="sft")
  assert table.records[0].completions == ("y",)
  assert "columns not read: chosen, rejected" in str(table.summary)


def test_form_option_demands_its_columns(write):
  path = write([{"prompt": "x", "completion": "y"}])
  with pytest.raises(UserError, match="no column 'reward', which form 'traj'"):
    data.load(path, form="traj")
  with pytest.raises(UserError, match="no form 'trajj'; did you mean 'traj'"):
    data.load(path, form="trajj")


def test_files_must_be_alike(write, tmp_path):
  row = {"prompt": "x", "completion": "y", "reward": 1}
  write([row], "d/a.jsonl")
  write([{**row, "label": True}], "d/b.jsonl")
  with pytest.raises(UserError, match=r"a\.jsonl gives .*b\.jsonl gives"):
    data.load(tmp_path / "d")


def test_integer_labels(write):
  rows = [{"prompt": "x", "completion": "y", "label": n} for n in (0, 1)]
  path = write(rows)
  with pytest.raises(UserError, match=r"the number 1 .*int_labels=True"):
    data.load(path)
  table = data.load(path, int_labels=True)
  assert [r.labels for r in table.records] == [(False,), (True,)]
  rows[1]["label"] = 2
  with pytest.raises(UserError, match=r"1 of 2 rows .*\n.*the number 2"):
    data.load(write(rows), int_labels=True)
  with pytest.raises(UserError, match="int_labels is set, but"):
    data.load(write([{"prompt": "x", "completion": "y"}]), int_labels=True)


def test_bad_rows_takes_two_values(write):
  path = write([{"prompt": "x", "completion": "y"}])
  with pytest.raises(UserError, match="'error' or 'skip', not 'ignore'"):
    data.load(path, bad_rows="ignore")


def test_messages(write):
  talk = [user("x"), reply("a"), user("y"), reply("b")]
  record = one(write, {"messages": talk})
  assert record.prompt == tuple(Message(**turn) for turn in talk[:-1])
  assert record.completions == ("b",)
  assert (record.rewards, record.labels) == (None, None)
  assert one(write, {"messages": talk, "reward": 2}).rewards == (2.0,)
  assert one(write, {"messages": talk, "label": True}).labels == (True,)


def test_other_forms_come_before_messages(write):
  talk = [user("x"), reply("a")]
  row = {"prompt": "x", "chosen": "a", "rejected": "b", "messages": talk}
  assert one(write, row).ranked
  assert not one(write, row, form="messages").ranked


@pytest.mark.parametrize(
  ("value", "error"),
  [
    ("x", "the text 'x' where messages belong"),
    ([], "an empty list where messages belong"),
    ([user("x")], "the last message has role 'user', not 'assistant'"),
    ([reply("x")], "one message alone"),
    ([{"content": "x"}, reply("y")], "message 0 has 'content' where 'role'"),
    ([{"role": "model", "content": "x"}, reply("y")], "has role 'model'"),
  ],
)
def test_messages_that_are_none(write, value, error):
  with pytest.raises(UserError, match=f"column 'messages': .*{error}"):
    one(write, {"messages": value})


def answer(text, score, **more):
  """A completion as openbmb/UltraFeedback has it."""
  return {
    "annotations": {"helpfulness": {"Rating": "4", "Rationale": "..."}},
    "custom_system_prompt": "be honest",
    "critique": "...",
    "fine-grained_score": 4.25,
    "model": "m",
    "overall_score": score,
    "principle": "honesty",
    "response": text,
    **more,
  }


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_ultrafeedback(write, name):
  row = {
    "source": "sharegpt",
    "instruction": "why?",
    "models": ["m", "n"],
    "completions": [answer("so", 7.5), answer("no", 1.0)],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
  }
  table = data.load(write([row], name))
  (record,) = table.records
  assert record.prompt == "why?"
  assert record.completions == ("so", "no")
  assert record.rewards == (7.5, 1.0)
  assert not record.ranked
  assert table.summary.form == "ultrafeedback"
  assert "columns not read: source, models" in str(table.summary)


@pytest.mark.parametrize(
  ("completions", "said"),
  [
    ([], "column 'completions': an empty list"),
    ("so", "column 'completions': the text 'so' where a list belongs"),
    (["so"], "item 0: the text 'so', not an object of response"),
    ([answer("so", 1), answer("so", None)], "item 1: 'overall_score': null"),
    ([answer("so", "7")], "'overall_score': the text '7' where a number"),
    ([answer(3, 1)], "item 0: 'response': the number 3 where text belongs"),
    ([{"overall_score": 1}], "item 0: 'response': missing"),
  ],
)
def test_bad_rows_of_ultrafeedback(write, completions, said):
  row = {"instruction": "why?", "completions": completions}
  with pytest.raises(UserError, match=said):
    data.load(write([row]))


def test_a_text_that_spells_something_empty_is_a_text(write):
  row = {"instruction": "Sort this list.", "output": "[]"}
  for said in ("[]", "{}", "null"):
    found = one(write, {**row, "input": said})
    assert found.prompt == f"Sort this list.\n\n{said}"
  talk = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
  found = one(write, {"conversations": talk, "system": "{}"})
  assert found.prompt[0] == Message("system", "{}")


def test_what_pandas_leaves_in_place_of_nothing_is_absent():
  said = {"instruction": "x", "output": "y", "input": math.nan}
  assert data.load([said]).records[0].prompt == "x"
  turns = [user("u"), reply("a")]
  for lacking in ({"tools": math.nan}, {"tools": None}):
    (record,) = data.load([{"messages": turns, **lacking}]).records
    assert record.prompt == (Message("user", "u"),)
