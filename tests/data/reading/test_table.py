import math
import re

import pytest

from offalign import data
from offalign.errors import UserError


def user(text):
  return {"role": "user", "content": text}


def reply(text):
  return {"role": "assistant", "content": text}


TRAJ = {"prompt": "x", "completion": "y", "reward": 1.0}
LABEL = {"prompt": "x", "completion": "y", "label": True}
PAIR = {"prompt": "x", "chosen": "a", "rejected": "b"}
GROUP = {"prompt": "x", "completions": ["a", "b"], "rewards": [1.0, 0.0]}
CHAT = {
  "prompt": [user("x")],
  "chosen": [reply("a")],
  "rejected": [reply("b")],
}
IMPLICIT = {
  "chosen": [user("x"), reply("a")],
  "rejected": [user("x"), reply("b")],
}
ABSENT = object()

CASES = [
  (TRAJ, "reward", ABSENT, "missing"),
  (TRAJ, "reward", None, "null"),
  (TRAJ, "reward", math.nan, "nan is not a finite number"),
  (TRAJ, "reward", -math.inf, "-inf is not a finite number"),
  (TRAJ, "reward", 10**400, "inf is not a finite number"),
  (TRAJ, "reward", "1.0", "the text '1.0' .*without quotes"),
  (TRAJ, "reward", "high", "the text 'high' where a number belongs$"),
  (TRAJ, "reward", 1e308, r"1e\+308 is too large: .* float32"),
  (TRAJ, "reward", -1e39, r"-1e\+39 is too large: .* float32"),
  (TRAJ, "reward", True, "the boolean true where a number"),
  (TRAJ, "reward", [1.0], "a list where a number"),
  (TRAJ, "prompt", ABSENT, "missing"),
  (TRAJ, "prompt", None, "null"),
  (TRAJ, "prompt", 3, "the number 3 where text"),
  (TRAJ, "prompt", {"a": 1}, "an object where text"),
  (TRAJ, "prompt", [], "an empty list"),
  (TRAJ, "completion", None, "null"),
  (TRAJ, "completion", "a\ud800", "surrogate pair.* at character 1"),
  (TRAJ, "completion", [reply("y")], "a conversation, but the prompt is text"),
  (LABEL, "label", None, "null"),
  (LABEL, "label", 1, "int_labels=True"),
  (LABEL, "label", 1.0, "the number 1.0 where true or false"),
  (LABEL, "label", "true", "the text 'true' where true or false"),
  (PAIR, "chosen", ABSENT, "missing"),
  (PAIR, "rejected", None, "null"),
  (PAIR, "rejected", ["b"], "a conversation, but the prompt is text"),
  (GROUP, "completions", [], "an empty list"),
  (GROUP, "completions", "a", "the text 'a' where a list belongs"),
  (GROUP, "completions", ["a", None], "item 1: null"),
  (GROUP, "completions", ["a", 2], "item 1: the number 2 where text"),
  (GROUP, "rewards", [1.0], "1 rewards for 2 completions"),
  (GROUP, "rewards", [1.0, math.inf], "item 1: inf is not a finite"),
  (GROUP, "rewards", [], "an empty list"),
  (CHAT, "prompt", "x", None),
  (CHAT, "prompt", [], "an empty list where messages"),
  (CHAT, "prompt", [{"role": "human", "content": "x"}], "role 'human'"),
  (CHAT, "prompt", [{"role": "function", "content": "x"}], "call it 'tool'"),
  (CHAT, "prompt", [{"role": "User", "content": "x"}], "mean 'user'"),
  (CHAT, "prompt", [{"from": "user", "value": "x"}], "'from', 'value' where"),
  (CHAT, "prompt", [{"role": "user", "content": None}], "has 'role' where"),
  (CHAT, "prompt", [{"role": "user", "content": 3}], "the number 3 where"),
  (CHAT, "prompt", [{"role": ["a"], "content": "x"}], "role \\['a'\\]"),
  (CHAT, "prompt", [user("")], r"message 0 \(user\) is empty"),
  (CHAT, "prompt", ["x"], "message 0 is the text 'x'"),
  (CHAT, "prompt", [user("x"), reply("y")], "two assistant turns in a row"),
  (CHAT, "chosen", [], "an empty list"),
  (CHAT, "chosen", "a", "the text 'a', but the prompt is a conversation"),
  (CHAT, "chosen", [user("a")], "role 'user', not 'assistant'"),
  (CHAT, "chosen", [reply("")], r"message 0 \(assistant\) is empty"),
  (CHAT, "chosen", [reply("a"), reply("b")], "two assistant turns in a row"),
  (CHAT, "chosen", [user("x"), reply("a")], "2 messages where one reply"),
  (
    IMPLICIT,
    "chosen",
    [user("z"), reply("a")],
    "differs from that of",
  ),
  (IMPLICIT, "chosen", [reply("a")], "one message alone"),
  (IMPLICIT, "chosen", [user("x")], "role 'user', not 'assistant'"),
  (IMPLICIT, "chosen", "x a", "the other a conversation"),
  (IMPLICIT, "rejected", [user("x"), reply("")], "is empty"),
]


def broken(base, column, value):
  row = {**base, column: value}
  return {k: v for k, v in row.items() if v is not ABSENT}


@pytest.mark.parametrize(("base", "column", "value", "what"), CASES)
def test_every_bad_cell_is_found_where_it_is(write, base, column, value, what):
  bad = broken(base, column, value)
  path = write([base, bad, base, bad])
  table = data.load(path, bad_rows="skip")
  assert [r.source for r in table.records] == [f"{path}:0", f"{path}:2"]
  assert table.summary.counts["bad_rows"] == 2
  assert {p.row for p in table.problems} == {1, 3}
  if what is None:  # the prompt is of the wrong kind: the replies disagree
    assert {p.column for p in table.problems} == {"chosen", "rejected"}
    return
  assert {p.column for p in table.problems} == {column}
  with pytest.raises(UserError, match="2 of 4 rows") as error:
    data.load(path)
  assert 'bad_rows="skip"' in str(error.value)
  lines = str(error.value).splitlines()
  for line, row in zip(lines[1:3], (1, 3), strict=True):
    assert line.startswith(f"  {path}, row {row}, column {column!r}: ")
    assert re.search(what, line)


@pytest.mark.parametrize(
  ("column", "value"),
  [("reward", None), ("reward", math.nan), ("completion", None)],
)
def test_parquet_rows(write, column, value):
  path = write([TRAJ, {**TRAJ, column: value}, TRAJ], "rows.parquet")
  table = data.load(path, bad_rows="skip")
  assert [(p.row, p.column) for p in table.problems] == [(1, column)]


def test_the_same_text_twice_has_no_implicit_prompt(write):
  rows = [
    {"chosen": "a b", "rejected": "a c"},
    {"chosen": "a", "rejected": "a"},
  ]
  (problem,) = data.load(write(rows), bad_rows="skip").problems
  assert problem.row == 1
  assert "cannot be told" in problem.what


def test_every_fault_of_a_row_is_listed_and_counted_once(write):
  bad = {"prompt": None, "completion": 3, "reward": "x"}
  path = write([TRAJ, bad])
  with pytest.raises(UserError, match="1 of 2 rows") as error:
    data.load(path)
  (line,) = [x for x in str(error.value).splitlines() if "row 1" in x]
  assert all(f"column {c!r}: " in line for c in bad)


def test_a_long_list_is_cut_and_its_length_told(write):
  rows = [TRAJ] + [{**TRAJ, "reward": None}] * 25
  with pytest.raises(UserError, match="25 of 26 rows") as error:
    data.load(write(rows))
  assert str(error.value).count("column 'reward': null") == 10
  assert "... and 15 more rows" in str(error.value)


def test_nothing_left_is_an_error_even_when_skipping(write):
  path = write([{**TRAJ, "reward": None}] * 3)
  with pytest.raises(UserError, match=r"all 3 rows .*\n(.*\n)+.*no other row"):
    data.load(path, bad_rows="skip")


def test_long_values_are_not_printed_whole(write):
  path = write([{**TRAJ, "reward": "9" * 5000}])
  with pytest.raises(UserError) as error:
    data.load(path)
  assert len(str(error.value)) < 500 + len(str(path))


def test_legal_oddities_are_kept_and_counted(write):
  rows = [
    TRAJ,
    TRAJ,
    {**TRAJ, "completion": ""},
    {**TRAJ, "completion": " \n"},
    {**TRAJ, "prompt": ""},
    {**TRAJ, "prompt": "\t"},
    {**TRAJ, "completion": "z" * 100_001},
  ]
  table = data.load(write(rows))
  assert len(table.records) == len(rows)
  counts = table.summary.counts
  for name in (
    "duplicate_rows",
    "empty_completions",
    "blank_completions",
    "empty_prompts",
    "blank_prompts",
    "huge_completions",
  ):
    assert counts.pop(name) == 1
  assert counts == {"rows": 7, "prompts": 3, "completions": 7}
  assert "1 empty completion (kept)" in str(table.summary)


def test_oddities_of_pairs_are_kept_and_counted(write):
  scored = {**PAIR, "chosen_reward": 0.0, "rejected_reward": 1.0}
  table = data.load(write([scored, {**scored, "rejected": "a"}]))
  assert table.summary.counts["reversed_pairs"] == 2
  assert table.summary.counts["equal_pairs"] == 1
  assert table.records[0].completions == ("a", "b")


def test_other_columns_are_named(write):
  table = data.load(write([{**TRAJ, "source": "m", "id": 3}]))
  assert "columns not read: source, id" in str(table.summary)
