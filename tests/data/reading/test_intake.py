import pytest

from offalign import data
from offalign.errors import UserError

ROW = {"prompt": "x", "response": "y"}


def user(text):
  return {"role": "user", "content": text}


def test_mapped_columns_must_be_there(write):
  path = write([{**ROW, "meta": {"score": 1}}])
  with pytest.raises(UserError, match=r"no column 'respnse'.*mean 'response'"):
    data.load(path, columns="completion=respnse")
  with pytest.raises(UserError, match=r"no row of .* has 'meta\.scor'"):
    data.load(path, columns="completion=response, reward=meta.scor")
  with pytest.raises(UserError, match="form 'sft' does not have"):
    data.load(path, columns="completion=response, chosen=meta")


def test_sharegpt(write):
  talk = [
    {"from": "human", "value": "u"},
    {"from": "gpt", "value": "v"},
    {"from": "user", "value": "w"},
    {"from": "assistant", "value": "a"},
  ]
  rows = [{"conversations": talk, "reward": 2, "id": "1"}]
  (record,) = data.load(write(rows)).records
  assert [tuple(m) for m in record.prompt] == [
    ("user", "u"),
    ("assistant", "v"),
    ("user", "w"),
  ]
  assert (record.completions, record.rewards) == (("a",), (2.0,))
  rows[0]["system"] = "s"
  assert data.load(write(rows)).records[0].prompt[0] == ("system", "s")
  for turn, said in (
    ({"from": "observation", "value": "z"}, "tools are not read in this form"),
    (
      {"from": "function_call", "value": "z"},
      "tools are not read in this form",
    ),
    ({"from": "narrator", "value": "z"}, "from 'narrator', who is not known"),
    ({"from": "human"}, "has no 'value'"),
    ({"from": "human", "value": 3}, "the number 3 where text belongs"),
  ):
    bad = [{"conversations": [turn, *talk], "reward": 2}]
    with pytest.raises(UserError, match=f"column 'conversations': .*{said}"):
      data.load(write(bad))


def test_sharegpt_in_a_column_of_another_name(write):
  talk = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
  path = write([{"messages": talk}])
  with pytest.raises(UserError, match="columns='conversations=COLUMN'"):
    data.load(path)
  (record,) = data.load(path, columns="conversations=messages").records
  assert record.completions == ("a",)


def test_alpaca(write):
  rows = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Hi", "input": "", "output": "Hello"},
    {"instruction": "Hi", "input": None, "output": "Hello"},
  ]
  table = data.load(write(rows))
  assert [r.prompt for r in table.records] == ["Add.\n\n1 and 2", "Hi", "Hi"]
  assert [r.completions for r in table.records] == [("3",), *[("Hello",)] * 2]
  assert "'input' after an empty line" in str(table.summary)
  rows = [{**row, "thumb": "up"} for row in rows]
  table = data.load(write(rows), columns="label=thumb:up/down")
  assert table.records[0].labels == (True,)


def test_other_forms_come_before_these(write):
  talk = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]
  row = {"prompt": "p", "chosen": "a", "rejected": "b", "conversations": talk}
  row |= {"instruction": "i", "output": "o"}
  assert data.load(write([row])).records[0].ranked
  assert data.load(write([row]), form="alpaca").records[0].prompt == "i"


@pytest.mark.parametrize(
  ("more", "said"),
  [
    ({"feedback": {"score": 5}}, "'feedback.score'; columns='reward=feedback."),
    ({"thumb": "up"}, "'thumb'; columns='label=thumb:up/down'"),
    ({"is_liked": True}, "'is_liked'; columns='label=is_liked'"),
    ({"star_rating": 3}, "'star_rating'; columns='reward=star_rating'"),
  ],
)
def test_feedback_that_is_not_read_is_warned_of(write, more, said):
  rows = [{"prompt": "x", "completion": "y", **more}]
  (line,) = [
    s for s in data.load(write(rows)).summary.sentences if "warning" in s
  ]
  assert line.startswith("warning: not read, though by the name it is feedback")
  assert said in line


@pytest.mark.parametrize(
  "more",
  [{"likelihood": 0.5}, {"model": "score"}, {"score": None}, {"tag": "rate"}],
)
def test_what_is_no_feedback_is_not(write, more):
  rows = [{"prompt": "x", "completion": "y", **more}]
  assert "warning" not in str(data.load(write(rows)).summary)


def test_a_prompt_of_another_name_beside_pairs_is_warned_of(write):
  row = {"question": "q", "chosen": "a b", "rejected": "a c"}
  assert "columns='prompt=question'" in str(data.load(write([row])).summary)
  table = data.load(write([row]), columns="prompt=question")
  assert table.records[0].prompt == "q"


def test_inverted_and_tied_pairs_are_named(write):
  rewards = [(1, 0), (0, 1), (1, 1), (0, 2)]
  rows = [
    {"prompt": "x", "chosen": f"a{i}", "rejected": "b"}
    | {"chosen_reward": a, "rejected_reward": b}
    for i, (a, b) in enumerate(rewards)
  ]
  said = str(data.load(write(rows)).summary)
  assert "below the rejected one (kept in this order): rows 1, 3" in said
  assert "whose two rewards are equal (kept in this order): row 2" in said


def test_a_reply_and_a_prompt_of_two_kinds_say_what_to_write(write):
  row = {"prompt": [user("x")], "completion": "y"}
  with pytest.raises(UserError, match=r'write the reply as \[\{"role": "assis'):
    data.load(write([row]))
  whole = [user("x"), {"role": "assistant", "content": "a"}]
  row = {"prompt": [user("x")], "chosen": whole, "rejected": whole}
  with pytest.raises(UserError, match="or remove the column 'prompt'"):
    data.load(write([row]))
