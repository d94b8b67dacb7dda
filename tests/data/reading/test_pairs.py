import pytest

from offalign import data
from offalign.errors import UserError


def user(text):
  return {"role": "user", "content": text}


def reply(text):
  return {"role": "assistant", "content": text}


def one(write, row, name="rows.jsonl", **options):
  (record,) = data.load(write([row], name), **options).records
  return record


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
