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


def test_messages(write):
  talk = [user("x"), reply("a"), user("y"), reply("b")]
  record = one(write, {"messages": talk})
  assert record.prompt == tuple(Message(**turn) for turn in talk[:-1])
  assert record.completions == ("b",)
  assert (record.rewards, record.labels) == (None, None)
  assert one(write, {"messages": talk, "reward": 2}).rewards == (2.0,)
  assert one(write, {"messages": talk, "label": True}).labels == (True,)


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


def test_a_text_that_spells_something_empty_is_a_text(write):
  row = {"instruction": "Sort this list.", "output": "[]"}
  for said in ("[]", "{}", "null"):
    found = one(write, {**row, "input": said})
    assert found.prompt == f"Sort this list.\n\n{said}"
  talk = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
  found = one(write, {"conversations": talk, "system": "{}"})
  assert found.prompt[0] == Message("system", "{}")
