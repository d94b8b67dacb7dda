"""Token ids and log-probs in data: read in every form, or refused in words."""

import numpy as np
import pytest

from offalign.data import load
from offalign.data.reading.record_rows import rows_of
from offalign.errors import UserError

IDS, LOGPS = [5, 6, 1], [-0.5, -0.25, -1.0]
ROW = {"completion_ids": IDS, "logprobs": LOGPS}
TEXT = {"prompt": "p", "completion": "c"}


def one(row, **options):
  (record,) = load([row], **options).records
  return record


@pytest.mark.parametrize(
  "row",
  [
    {**TEXT, "reward": 1.0},
    {**TEXT, "label": True},
    TEXT,
    {"messages": [{"role": "user", "content": "p"},
                  {"role": "assistant", "content": "c"}]},
    {"conversations": [{"from": "human", "value": "p"},
                       {"from": "gpt", "value": "c"}]},
    {"instruction": "p", "output": "c"},
  ],
)  # fmt: skip
def test_single_completions_have_their_tokens(row):
  record = one({**row, **ROW})
  assert record.completions[0].text == "c"
  assert [x.tolist() for x in record.ids] == [IDS]
  assert [x.tolist() for x in record.logprobs] == [LOGPS]
  assert record.behaviour_logps == (-1.75,)
  assert one({**row, "completion_ids": IDS}).behaviour_logps is None
  assert one(row).ids is None


def test_groups_and_pairs_have_those_of_each_completion():
  group = {"prompt": "p", "completions": ["a", "b"], "rewards": [0, 1]}
  pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
  record = one(
    {**group, "completion_ids": [[1, 2], [3]], "logprobs": [[-1, -2], [-4]]}
  )
  assert [x.tolist() for x in record.ids] == [[1, 2], [3]]
  assert record.behaviour_logps == (-3.0, -4.0)
  columns = {"chosen_ids": [1, 2], "rejected_ids": [3]}
  logps = {"chosen_logprobs": [-1, -2], "rejected_logprobs": [-4]}
  record = one({**pair, **columns, **logps})
  assert [x.tolist() for x in record.logprobs] == [[-1, -2], [-4]]
  assert record.behaviour_logps == (-3.0, -4.0)


@pytest.mark.parametrize(
  "row",
  [
    {**TEXT, "reward": 1.0, **ROW},
    {**TEXT, **ROW},
    {"prompt": "p", "chosen": "a", "rejected": "b", "chosen_ids": [1],
     "rejected_ids": [2], "chosen_logprobs": [-1], "rejected_logprobs": [-2]},
    {"prompt": [{"role": "user", "content": "p"}],
     "completion": [{"role": "assistant", "content": "c"}],
     "completion_ids": [7]},
  ],
)  # fmt: skip
def test_records_are_written_as_they_were_read(row):
  record = one(row)
  (written,) = rows_of(record)
  again = one(written)
  assert again.completions == record.completions
  assert again.behaviour_logps == record.behaviour_logps


@pytest.mark.parametrize(
  "logprobs",
  [
    [{"token": "a", "logprob": x} for x in LOGPS],
    {"content": [{"token": "a", "logprob": x} for x in LOGPS]},
    {"tokens": ["a", "b", "c"], "token_logprobs": LOGPS},
  ],
)
def test_log_probs_as_endpoints_answer_them(logprobs):
  record = one({**TEXT, "reward": 1, **ROW, "logprobs": logprobs})
  assert record.logprobs[0].tolist() == LOGPS


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"completion_ids": [1, -1, 2]}, "'completion_ids': item 1: -1 is no"),
    ({"completion_ids": [1.5]}, "item 0: 1.5 is no token id"),
    ({"completion_ids": [2**31]}, "is no token id"),
    ({"completion_ids": ["a"]}, "the text 'a' where a token id belongs"),
    ({"completion_ids": [True]}, "the boolean true where a token id belongs"),
    ({"completion_ids": [[1]]}, "item 0: a list where a token id belongs"),
    ({"completion_ids": 7}, "where a list of one entry a token belongs"),
    ({"completion_ids": []}, "an empty list: a completion has one token"),
    ({"completion_ids": None}, "'completion_ids': null"),
    ({"logprobs": [-1.0]}, "'logprobs': 1 log-probs for 3 token ids"),
    ({"logprobs": [-1, 0.5, -1]}, "item 1: 0.5 is above 0"),
    ({"logprobs": [-1, float("-inf"), -1]}, "item 1: -inf is not a finite"),
    ({"logprobs": [-1, None, -1]}, "item 1: null where a log-prob belongs"),
    ({"logprobs": {"a": 1}}, "an object without 'content'"),
    ({"logprobs": None}, "'logprobs': null"),
  ],
)  # fmt: skip
def test_a_bad_cell_is_one_finding(changes, sentence):
  good = {**TEXT, "reward": 1, **ROW}
  with pytest.raises(UserError) as error:
    load([good, {**good, **changes}])
  assert "row 1 of the list, column " in str(error.value)
  assert sentence in str(error.value)
  table = load([good, {**good, **changes}], bad_rows="skip")
  assert len(table.records) == 1
  assert len(table.problems) == 1


def test_a_sum_of_its_own_must_be_that_of_the_tokens():
  row = {**TEXT, "reward": 1, **ROW}
  assert one({**row, "behaviour_logps": -1.7501}).behaviour_logps == (-1.75,)
  with pytest.raises(UserError, match=r"-3, but the log-probs .* to -1\.75"):
    load([{**row, "behaviour_logps": -3}])


def test_columns_that_hold_no_tokens_stay_unread():
  row = {**TEXT, "reward": 1, "completion_ids": "a-17", "logprobs": LOGPS}
  table = load([row])
  assert table.records[0].ids is None
  said = str(table.summary)
  assert "columns not read: completion_ids, logprobs" in said


def test_other_names_are_proposed():
  row = {**TEXT, "reward": 1, "token_ids": IDS, "token_logprobs": LOGPS}
  said = str(load([row]).summary)
  columns = "completion_ids=token_ids, logprobs=token_logprobs"
  assert f"'token_ids', 'token_logprobs'; columns='{columns}' reads it" in said
  assert one(row, columns=columns).behaviour_logps == (-1.75,)


@pytest.mark.parametrize(
  ("row", "columns", "sentence"),
  [
    (
      {**TEXT, "reward": 1, "lp": LOGPS},
      "logprobs=lp",
      "which has no 'completion_ids': log-probs are of token ids",
    ),
    (
      {"prompt": "p", "chosen": "a", "rejected": "b", "chosen_ids": [1]},
      None,
      "no 'rejected_ids'; pairs have both lists of token ids or none",
    ),
    (
      {**TEXT, "reward": 1, "behaviour_logps": LOGPS},
      None,
      "log-probs of the tokens are a column 'logprobs', beside their ids",
    ),
  ],
)
def test_halves_are_refused(row, columns, sentence):
  with pytest.raises(UserError, match=sentence):
    load([row], columns=columns)


def test_equal_tokens_with_other_log_probs_are_equal():
  a, b = (
    one({**TEXT, "completion_ids": IDS, "logprobs": x})
    for x in (LOGPS, [-1, -1, -1])
  )
  other = one({**TEXT, "completion_ids": [5, 1]})
  assert a.completions == b.completions
  assert a.completions != other.completions
  assert a.completions != ("c",)
  assert np.array_equal(a.completions[0].logps, np.array(LOGPS, np.float32))
