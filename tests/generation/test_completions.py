import json

import pytest

from offalign.errors import UserError
from offalign.generation import completions


def test_alpaca_evals_own_columns_in_a_json_array(tmp_path):
  path = tmp_path / "model.json"
  rows = [
    {"instruction": "a", "output": "b", "generator": "m"},
    {"instruction": "c", "output": "", "generator": "m"},
  ]
  path.write_text(json.dumps(rows, indent=2))
  found = completions.read(path)
  assert (found.prompts, found.texts) == (("a", "c"), ("b", ""))
  assert completions.read_prompts(path) == ("a", "c")


def test_completions_as_messages(tmp_path):
  path = tmp_path / "a.jsonl"
  reply = {"role": "assistant", "content": "b"}
  path.write_text(json.dumps({"prompt": "a", "completion": [reply]}))
  assert completions.read(path).texts == ("b",)
  for bad in ([], [reply, reply], [{**reply, "role": "user"}], ["b"], 3):
    path.write_text(json.dumps({"prompt": "a", "completion": bad}))
    with pytest.raises(UserError, match="row 0 has no 'completion' that is"):
      completions.read(path)


@pytest.mark.parametrize(
  ("row", "column"),
  [
    ({"prompt": "a\ud800", "completion": "b"}, "prompt"),
    ({"prompt": [{"role": "user", "content": "a\ud800"}]}, "prompt"),
    ({"prompt": "a", "completion": "b\ud800"}, "completion"),
  ],
)
def test_half_of_a_surrogate_pair_is_named(tmp_path, row, column):
  path = tmp_path / "a.jsonl"
  path.write_text(json.dumps(row))
  said = rf"row 0, column '{column}': half of a surrogate pair.* at character 1"
  with pytest.raises(UserError, match=said):
    completions.read(path)


def test_files_of_another_encoding_say_so(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_text(json.dumps({"prompt": "a"}), encoding="utf-16")
  with pytest.raises(UserError, match="is UTF-16 and not UTF-8"):
    completions.read(path)
