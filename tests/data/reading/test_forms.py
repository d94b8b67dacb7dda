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


def test_other_forms_come_before_messages(write):
  talk = [user("x"), reply("a")]
  row = {"prompt": "x", "chosen": "a", "rejected": "b", "messages": talk}
  assert one(write, row).ranked
  assert not one(write, row, form="messages").ranked
