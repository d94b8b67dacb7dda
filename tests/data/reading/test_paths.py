import json

import pytest

from offalign import data
from offalign.data.reading import paths
from offalign.errors import UserError

ROW = {"prompt": "p", "completion": "c", "reward": 1}


@pytest.mark.parametrize(
  ("name", "cure"),
  [
    ("a.xlsx", "save it as CSV"),
    ("a.pkl", "a pickle runs whatever code it holds"),
    ("a.pt", "a pickle runs whatever code it holds"),
    ("a.zip", "unpack it"),
    ("a.tar.gz", "unpack it"),
    ("a.jsonl.zst", "decompress it"),
    ("a.feather", "to_parquet"),
    ("a.txt", "plain text has no columns"),
    ("a.odd", "convert it to one of them"),
  ],
)
def test_what_is_not_read_says_what_to_do(tmp_path, name, cure):
  (tmp_path / name).write_text("x")
  with pytest.raises(UserError, match=r"is none of \.parquet, .*" + cure):
    paths.find(tmp_path / name)
  if name != "a.odd":
    with pytest.raises(UserError, match=f"holds no .*{cure}"):
      paths.find(tmp_path)


def test_json_beside_other_data_is_passed_over(tmp_path):
  (tmp_path / "info.json").write_text("[]")
  assert [f.name for f in paths.find(tmp_path).files] == ["info.json"]
  (tmp_path / "a.jsonl").write_text(json.dumps(ROW))
  found = paths.find(tmp_path)
  assert [f.name for f in found.files] == ["a.jsonl"]
  assert [f.name for f in found.passed_over] == ["info.json"]
  assert "files not read: info.json" in str(data.load(tmp_path).summary)


def test_upper_case_endings(tmp_path):
  (tmp_path / "A.JSONL").write_text(json.dumps(ROW))
  assert len(data.load(tmp_path / "A.JSONL").records) == 1


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "a" * 300 + "/b/c"])
def test_names_that_no_file_can_have(name):
  with pytest.raises(UserError, match="no file or folder"):
    paths.find(name)
