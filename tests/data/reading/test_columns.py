import json

import pytest

from offalign import audit, data
from offalign.data.reading import columns
from offalign.errors import UserError

ROW = {"prompt": "x", "response": "y"}


def load(write, cells, text, name="thumb"):
  rows = [{**ROW, name: cell} for cell in cells]
  return data.load(write(rows), columns=f"completion=response, {text}")


@pytest.mark.parametrize(
  ("text", "cells", "labels"),
  [
    ("thumb:up/down", ["up", "down", None], [True, False]),
    ("thumb:1/-1", [1, -1, 1.0, "1", "-1", None], [1, 0, 1, 1, 0]),
    ("thumb:1/0", [1, 0], [True, False]),
    ("thumb:true/false", [True, False, "True", "FALSE"], [1, 0, 1, 0]),
    ("thumb:👍/👎", ["👍", "👎"], [True, False]),
    ("thumb:4|5/1|2/3", [5, 4, 3, 2, 1], [1, 1, 0, 0]),
    ("thumb:up/down/nan", ["up", float("nan"), "down"], [True, False]),
    ("thumb:'n/a'/\"a, b\"", ["n/a", "a, b"], [True, False]),
    ("thumb", [True, False, None, "true", ""], [True, False, True]),
  ],
)
def test_values_of_labels(write, text, cells, labels):
  table = load(write, cells, f"label={text}")
  assert [r.labels for r in table.records] == [(bool(x),) for x in labels]
  unrated = len(cells) - len(labels)
  assert table.summary.counts.get("unrated_rows", 0) == unrated
  if unrated:
    assert "left out as not rated: no value in 'thumb'" in str(table.summary)


@pytest.mark.parametrize(
  ("text", "cells", "rewards"),
  [
    ("stars", [5, 1.5, None, "4", " 2e0 "], [5.0, 1.5, 4.0, 2.0]),
    ("stars:up/down", ["up", "down"], [1.0, 0.0]),
    ("stars.value", [{"value": 3}, {"value": None}, {}, None, 7], [3.0]),
  ],
)
def test_values_of_rewards(write, text, cells, rewards):
  table = load(write, cells, f"reward={text}", "stars")
  assert [r.rewards for r in table.records] == [(x,) for x in rewards]


def test_text_read_as_numbers_is_said(write):
  table = load(write, ["1", "2", 3], "reward=score", "score")
  assert "2 numbers read from text" in str(table.summary)
  assert "column 'reward' is read from 'score'" in str(table.summary)


@pytest.mark.parametrize(
  ("text", "cell", "said"),
  [
    ("label=thumb:up/down", "meh", "which is none of up, down; name it as a"),
    ("label=thumb:1/-1", True, "the boolean true, which is none of 1, -1"),
    ("label=thumb", "up", "columns='label=thumb:up/down'"),
    ("label=thumb", 1, "columns='label=thumb:1/0'"),
    ("label=thumb", -1, "columns='label=thumb:1/-1'"),
    ("reward=thumb", "high", "the text 'high' where a number belongs"),
    ("reward=thumb", "0,5", "with a point, not a comma"),
    ("reward=thumb", True, "columns='reward=thumb:true/false'"),
    ("reward=thumb", "nan", "nan is not a finite number"),
    ("reward=thumb", "1e39", "too large"),
    ("reward=thumb", [1], "a list where a number belongs"),
  ],
)
def test_values_that_are_none_name_the_files_column(write, text, cell, said):
  rows = [{**ROW, "thumb": {"up/down": "up"}.get(text[12:], True)}]
  rows = [{**ROW, "thumb": cell}]
  with pytest.raises(UserError) as error:
    data.load(write(rows), columns=f"completion=response, {text}")
  assert "row 0, column 'thumb': " in str(error.value)
  assert said in str(error.value)


@pytest.mark.parametrize("cell", [None, "0.5"])
def test_what_is_not_mapped_stays_an_error_that_names_the_option(write, cell):
  rows = [{"prompt": "x", "completion": "y", "reward": r} for r in (1, cell)]
  with pytest.raises(UserError, match="columns='reward=reward'"):
    data.load(write(rows))
  table = data.load(write(rows), columns="reward=reward")
  assert [r.rewards for r in table.records] == [
    (1.0,),
    *([] if cell is None else [(0.5,)]),
  ]


def test_the_numbers_0_and_1_need_their_option_here_too(write):
  rows = [{**ROW, "thumb": cell} for cell in (1, 0, "1", None)]
  table = data.load(
    write(rows), columns="completion=response, label=thumb", int_labels=True
  )
  assert [r.labels for r in table.records] == [(True,), (False,), (True,)]


def test_booleans_as_text_name_the_option(write):
  rows = [{"prompt": "x", "completion": "y", "label": "False"}]
  with pytest.raises(UserError, match="columns='label=label'"):
    data.load(write(rows))
  table = data.load(write(rows), columns="label=label")
  assert table.records[0].labels == (False,)


def test_null_text_is_an_error_also_where_it_is_mapped(write):
  with pytest.raises(UserError, match="row 0, column 'response': null"):
    data.load(
      write([{**ROW, "response": None, "reward": 1}]),
      columns="completion=response",
    )


def test_rows_that_nobody_rated_alone_are_refused(write):
  with pytest.raises(UserError, match="no row can be used: 2 rows left out"):
    load(write, [None, None], "label=thumb:up/down")


def test_lists_of_rewards(write):
  rows = [{"prompt": "x", "completions": ["a", "b"], "votes": ["up", "down"]}]
  (record,) = data.load(write(rows), columns="rewards=votes:up/down").records
  assert record.rewards == (1.0, 0.0)


def test_a_name_with_dots_comes_before_keys(write):
  rows = [{**ROW, "a.b": 1, "a": {"b": 2}}]
  table = data.load(write(rows), columns="completion=response, reward=a.b")
  assert table.records[0].rewards == (1.0,)
  assert "columns not read: a" in str(table.summary)


def test_what_another_column_is_read_for_is_said(write):
  rows = [{**ROW, "completion": "old"}]
  table = data.load(write(rows), columns="completion=response")
  assert table.records[0].completions == ("y",)
  assert "not read: completion, since columns reads others" in str(
    table.summary
  )


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("", "not of the form column=column"),
    ("completion", "not of the form column=column"),
    ("completion=", "not of the form column=column"),
    ("compltion=response", "did you mean 'completion'"),
    ("completion=response, completion=prompt", "given twice"),
    ("completion=response:a/b", "no feedback, so it maps no values"),
    ("label=thumb:up", "is not good/bad"),
    ("label=thumb:up/up", "'up' would mean two things"),
    ("label=thumb:1/1.0", "would mean two things"),
    ("label=a:b:c/d", "two colons"),
  ],
)
def test_maps_that_are_none(text, said):
  with pytest.raises(UserError) as error:
    columns.parse(text)
  assert said in str(error.value)
  assert error.value.option == "columns"


@pytest.mark.parametrize(
  "text",
  [
    "completion=response, reward=feedback.score, label=thumb:up/down",
    'label=thumb:"n/a"|x/"a, b"/3',
    'prompt="what, then"',
  ],
)
def test_maps_are_written_as_they_are_read(text):
  assert str(columns.parse(text)) == text
  assert columns.parse(str(columns.parse(text))) == columns.parse(text)


YES = [{"role": "assistant", "content": "y"}]
NO = [{"role": "assistant", "content": "z"}]
TOOL = {"type": "function", "function": {"name": "look_up"}}


@pytest.mark.parametrize("source", ["functions", "meta.functions"])
def test_tools_are_mapped_beside_margins(write, source):
  talk = {"q": [{"role": "user", "content": "x"}], "good": YES, "bad": NO}
  held = {"functions": [TOOL]}
  more = held if source == "functions" else {"meta": held}
  rows = [{**talk, "gap": 2.0, "tools": "old", **more}]
  path = write(rows)
  mapped = f"prompt=q,chosen=good,rejected=bad,margin=gap,tools={source}"
  table = data.load(path, columns=mapped)
  (record,) = table.records
  assert [m.role for m in record.prompt] == ["tools", "user"]
  assert json.loads(record.prompt[0].content) == [TOOL]
  assert record.margin == 2.0
  said = str(table.summary)
  assert f"column 'tools' is read from '{source}'" in said
  assert "columns not read: tools" in said
  report = audit.audit(str(path), audit.AuditConfig(columns=mapped))
  assert [*report.scan.unused] == ["tools"]


def test_a_margin_that_is_read_is_not_listed_as_unread(write):
  pair = {"prompt": "x", "chosen": "y", "rejected": "z"}
  path = write([{**pair, "margin": None}, {**pair, "margin": 1.0}])
  assert not audit.audit(str(path)).scan.unused
  path = write([{**pair, "margin": None}])
  assert [*audit.audit(str(path)).scan.unused] == ["margin"]


def test_tools_of_plain_text_are_not_read(write):
  path = write([{**ROW, "functions": [TOOL]}])
  table = data.load(path, columns="completion=response, tools=functions")
  assert table.records[0].prompt == "x"
  said = str(table.summary)
  assert "is read from 'functions'" not in said
  assert "columns not read: functions" in said
  alpaca = write([{"instruction": "x", "output": "y", "functions": [TOOL]}])
  with pytest.raises(UserError, match="form 'alpaca' does not have"):
    data.load(alpaca, columns="tools=functions")
