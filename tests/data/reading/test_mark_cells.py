"""Spans, steps and numbers by token: what is read, and what is refused."""

import pytest

from offalign import data
from offalign.data.reading.marks import Marks, Span
from offalign.errors import UserError

ROW = {"prompt": "p", "completion": "yes 🦙 sir", "reward": 1.0}
IDS = {**ROW, "completion_ids": [3, 4, 1]}


def mark_of(row, **options):
  (record,) = data.load([row], **options).records
  (mark,) = record.marks
  return record, mark


def test_spans_count_characters_and_are_put_in_order():
  spans = [
    {"start": 6, "end": 9, "weight": 0},
    {"start": 4, "end": 5, "text": "🦙", "score": -2, "weight": 2.5},
    {"start": 0, "end": 3, "label": True},
  ]
  _, mark = mark_of({**ROW, "spans": spans})
  assert mark.spans == (
    Span(0, 3, None, None, True),
    Span(4, 5, 2.5, -2.0),
    Span(6, 9, 0.0),
  )
  assert mark.has_weights
  assert mark.has_ratings
  _, none = mark_of({**ROW, "spans": []})
  assert none == Marks()


@pytest.mark.parametrize(
  ("spans", "sentence"),
  [
    ([{"start": 0, "end": 10, "weight": 1}], "not in the completion, which"),
    ([{"start": 2, "end": 2, "weight": 1}], "span 0: from 2 to 2 is empty"),
    ([{"start": -1, "end": 2, "weight": 1}], "from -1 to 2 is not in"),
    ([{"start": 0.5, "end": 2, "weight": 1}], "'start': the number 0.5 where"),
    ([{"end": 2, "weight": 1}], "span 0: no 'start'"),
    ([{"start": 0, "end": 2, "weight": -1}], "'weight': -1 is below 0"),
    (
      [{"start": 0, "end": 2, "reward": float("nan")}],
      "'reward': nan is not a finite",
    ),
    (
      [{"start": 0, "end": 2, "reward": 1}, {"start": 2, "end": 3}],
      "span 1: says neither how much",
    ),
    (
      [{"start": 0, "end": 2, "reward": 1, "label": True}],
      "both 'reward' and 'label'",
    ),
    (
      [
        {"start": 4, "end": 9, "weight": 1},
        {"start": 0, "end": 5, "weight": 1},
      ],
      "spans 0 and 1 overlap, at character 4",
    ),
    (
      [{"start": 4, "end": 8, "text": "🦙", "weight": 1}],
      "offsets count characters, not bytes",
    ),
    ([{"start": 0, "end": 2, "label": 1}], "pass int_labels"),
    ([[{"start": 0, "end": 2, "weight": 1}]], "span 0: a list, not an object"),
  ],
)
def test_a_span_that_is_none_is_named_with_its_row(spans, sentence):
  with pytest.raises(UserError, match=sentence) as error:
    data.load([ROW | {"spans": []}, {**ROW, "spans": spans}])
  assert "row 1 of the list, column 'spans'" in str(error.value)


@pytest.mark.parametrize(
  ("row", "sentence"),
  [
    ({**IDS, "token_weights": [1, 1]}, "2 weights for 3 token ids"),
    ({**IDS, "token_rewards": [1, 1, None]}, "item 2: null"),
    ({**IDS, "token_weights": [1, -1, 1]}, "item 1: -1 is below 0"),
    ({**IDS, "token_rewards": [1, 1, float("inf")]}, "inf is not a finite"),
    (
      {
        **IDS,
        "token_weights": [1, 1, 1],
        "spans": [{"start": 0, "end": 1, "weight": 1}],
      },
      "numbers a token in 'token_weights'; keep one",
    ),
    ({"prompt": "p", "steps": [{"text": "a"}, {"reward": 1}]}, "1: no 'text'"),
    ({"prompt": "p", "steps": [{"text": " "}]}, "a step without text"),
    (
      {
        "prompt": "p",
        "completions": ["a", "b"],
        "rewards": [1, 0],
        "spans": [[]],
      },
      "1 lists for 2 completions",
    ),
  ],
)
def test_numbers_by_token_and_steps_are_refused_likewise(row, sentence):
  with pytest.raises(UserError, match=sentence):
    data.load([row])


def test_numbers_by_token_are_of_logged_ids():
  _, mark = mark_of(
    {**IDS, "token_weights": [1, 0, 2], "token_rewards": [0, 0, -1]}
  )
  assert mark == Marks((), (1.0, 0.0, 2.0), (0.0, 0.0, -1.0))
  table = data.load([{**ROW, "token_weights": [1.0]}])
  assert table.records[0].marks is None
  assert "columns not read: token_weights" in str(table.summary)
  with pytest.raises(UserError, match="numbers a token are of token ids"):
    data.load([{**ROW, "w": [1.0]}], columns="token_weights=w")


def test_steps_become_a_text_and_its_spans(tmp_path):
  steps = [
    {"text": "1 + 1 = 2", "reward": 1},
    {"text": "so", "rating": None},
    {"text": "\n2 + 2 = 5", "rating": -1},
  ]
  record, mark = mark_of({"prompt": "p", "steps": steps})
  (text,) = record.completions
  assert text == "1 + 1 = 2\nso\n2 + 2 = 5"
  assert mark.spans == (
    Span(0, 9, None, 1.0),
    Span(12, 22, None, -1.0),
  )
  path = tmp_path / "steps.csv"
  path.write_text('q,s\np,"[{""text"": ""a"", ""reward"": 2}]"\n')
  (record,) = data.load(str(path), columns="prompt=q, steps=s").records
  assert record.completions == ("a",)
  assert record.marks[0].spans == (Span(0, 1, None, 2.0),)


def test_trls_stepwise_rows_must_be_named():
  row = {"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}
  with pytest.raises(UserError, match="give form='stepwise'"):
    data.load([row])
  record, mark = mark_of(row, form="stepwise")
  assert record.completions == ("a\nb",)
  assert [span.label for span in mark.spans] == [True, False]
  with pytest.raises(UserError, match="1 labels for 2 steps"):
    data.load([{**row, "labels": [True]}], form="stepwise")


def test_columns_of_these_names_may_hold_something_else():
  entity = {"start": 0, "end": 3, "label": "PER"}
  table = data.load([{**ROW, "spans": [entity], "steps": 12}])
  assert table.records[0].marks is None
  assert table.summary.form == "traj"
  assert "columns not read: spans, steps" in str(table.summary)
