"""Rows in memory: lists of dicts, and data sets."""

import copy
import json

import datasets
import numpy as np
import pytest

from offalign import data
from offalign.data.reading.memory import Rows, as_path
from offalign.errors import UserError

LABELS = [
  {"prompt": "a", "completion": "b", "label": True},
  {"prompt": "a", "completion": "c", "label": False},
  {
    "prompt": [{"role": "user", "content": "d"}],
    "completion": [{"role": "assistant", "content": "e"}],
    "label": True,
  },
]


def test_a_list_is_read_as_a_file_with_the_same_rows_is(tmp_path):
  file = tmp_path / "rows.jsonl"
  file.write_text("".join(json.dumps(row) + "\n" for row in LABELS))
  there, here = data.load(file), data.load(LABELS)
  for a, b in zip(there.records, here.records, strict=True):
    assert (a.prompt, a.completions, a.labels) == (
      b.prompt,
      b.completions,
      b.labels,
    )
  assert here.summary.form == "label"
  assert here.summary.counts == there.summary.counts
  assert str(here.summary).startswith("the list: 3 rows of form 'label'")
  assert here.records[1].source == "the list:1"
  assert data.load(tuple(LABELS)).summary.sentences[0].startswith("the list:")


def test_a_data_set_is_read_as_a_list_with_the_same_rows_is():
  rows = LABELS[:2]
  found = data.load(datasets.Dataset.from_list(rows))
  assert [r.labels for r in found.records] == [(True,), (False,)]
  assert found.records[1].source == "the Dataset:1"


def test_numbers_of_numpy_are_numbers():
  rows = [
    {
      "prompt": "a",
      "completions": np.array(["b", "c"]),
      "rewards": np.array([1, 0.5], np.float32),
    },
    {"prompt": "a", "completions": ["b"], "rewards": [np.float32(2)]},
  ]
  (first, second) = data.load(rows).records
  assert first.rewards == (1.0, 0.5)
  assert first.completions == ("b", "c")
  assert second.rewards == (2.0,)


def test_a_bad_row_is_named_with_its_number():
  rows = [*LABELS, {"prompt": "a", "completion": None, "label": "yes"}]
  with pytest.raises(
    UserError, match="row 3 of the list, column 'completion': null"
  ):
    data.load(rows)
  found = data.load(rows, bad_rows="skip")
  assert len(found.records) == 3
  assert found.problems[0].file == "the list"


@pytest.mark.parametrize(
  ("rows", "sentence"),
  [
    ([1], "row 0 of the list is no dict, but '1'"),
    ([], "the list has no rows"),
    ({"prompt": ["a"]}, "a list of dicts or a datasets.Dataset, not dict"),
    (iter(LABELS), "give list"),
    (
      datasets.DatasetDict(test=datasets.Dataset.from_list(LABELS[:2])),
      r"a DatasetDict of the splits test: .* such as data\['test'\]",
    ),
  ],
)
def test_what_is_no_table_is_refused(rows, sentence):
  with pytest.raises(UserError, match=sentence):
    data.load(rows)


def test_it_goes_where_a_path_goes():
  path = as_path(LABELS)
  assert as_path(path) is path
  assert copy.deepcopy(path).rows is LABELS
  assert json.dumps(path) == '"the list"'
  assert isinstance(path, Rows)
