import pytest

from offalign import data
from offalign.errors import UserError


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
