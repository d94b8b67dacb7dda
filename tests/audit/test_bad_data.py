import json
import math
import re

import datasets
import pytest

from offalign.audit import AuditConfig, audit
from offalign.errors import UserError

QUICK = AuditConfig(methods=False)


def traj(i, **changes):
  row = {"prompt": f"p{i // 4}", "completion": f"answer {i}", "reward": i % 2}
  return {k: v for k, v in {**row, **changes}.items() if v is not ...}


def pair(i, **changes):
  return {"prompt": f"p{i}", "chosen": f"a{i}", "rejected": f"b{i}"} | changes


def label(i, value):
  return {"prompt": f"p{i}", "completion": f"c{i}", "label": value}


def turn(role, content="x", keys=("role", "content")):
  return {keys[0]: role, keys[1]: content}


def chat(**changes):
  row = {
    "prompt": [turn("user")],
    "chosen": [turn("assistant", "a")],
    "rejected": [turn("assistant", "b")],
  }
  return row | changes


def some(rows=8, **at):
  """Rows of which those of the given numbers are changed."""
  changes = {int(k[1:]): v for k, v in at.items()}
  return [traj(i, **changes.get(i, {})) for i in range(rows)]


CASES = {
  "missing_key": (some(_4={"reward": ...}), "bad_rows", [4], "missing"),
  "null": (some(_2={"reward": None}), "bad_rows", [2], "null"),
  "not_finite": (
    some(_1={"reward": math.nan}, _3={"reward": math.inf}),
    "bad_rows",
    [1, 3],
    "not a finite number",
  ),
  "string_reward": (
    [traj(i, reward="1.0") for i in range(8)],
    "bad_rows",
    list(range(8)),
    "without quotes",
  ),
  "label_int": (
    [label(i, i % 2) for i in range(8)],
    "bad_rows",
    list(range(8)),
    "Give int_labels here",
  ),
  "label_string": (
    [label(i, "yes") for i in range(8)],
    "bad_rows",
    list(range(8)),
    "the text 'yes'",
  ),
  "empty_completion": (
    some(_2={"completion": ""}, _5={"completion": " \n"}),
    "empty_completions",
    [2, 5],
    "white space alone",
  ),
  "empty_prompt": (
    some(_2={"prompt": ""}, _5={"prompt": "  "}),
    "empty_prompts",
    [2, 5],
    "white space alone",
  ),
  "equal_pairs": (
    [
      pair(i, **({"rejected": f"a{i}"} if i in (1, 6) else {}))
      for i in range(8)
    ],
    "equal_pairs",
    [1, 6],
    "same text",
  ),
  "huge": (
    some(_1={"completion": "z" * 1_048_576}),
    "huge_completions",
    [1],
    "1,048,576 characters",
  ),
  "duplicates": (
    [traj(i) for i in (0, 1, 2, 3, 0, 1, 2, 3, 8, 8)],
    "duplicate_rows",
    [4, 5, 6, 7, 9],
    "row 9 repeats row 8",
  ),
  "roles": (
    [
      chat(chosen=[turn("gpt")]),
      chat(),
      chat(chosen=[turn("user")]),
      chat(),
      chat(prompt=[turn("User")]),
      chat(),
      chat(prompt=[turn("user", keys=("from", "value"))]),
    ],
    "bad_rows",
    [0, 2, 4, 6],
    "did you mean 'user'",
  ),
  "reversed": (
    [pair(i, chosen_reward=i - 2.5, rejected_reward=0.0) for i in range(6)],
    "reversed_pairs",
    [0, 1, 2],
    "below the rejected",
  ),
}


def rows_of(findings, kind):
  found = [f for f in findings if f.kind == kind]
  # "row 4 repeats row 0" is about row 4.
  texts = [place for f in found for place in f.where]
  return sorted({int(re.search(r"row (\d+)", text)[1]) for text in texts})


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found_where_it_is(put, name):
  rows, kind, bad, words = CASES[name]
  report = audit(put(rows), QUICK)
  found = [f for f in report.findings if f.kind == kind]
  assert rows_of(found, kind) == bad
  said = "\n".join(map(str, found))
  assert words in said
  assert report.status() == 1
  assert {f.severity for f in found} <= {"error", "warning"}
  assert report.scan.bad == (len(bad) if kind == "bad_rows" else 0)


def test_good_data_has_status_0(put):
  rows = [traj(i) for i in range(8)]
  report = audit(put(rows), QUICK)
  assert report.status() == 0
  assert {f.severity for f in report.findings} <= {"note"}


def test_status_with_warnings_let_pass(put):
  rows = [traj(0), traj(0)]
  report = audit(put(rows), QUICK)
  assert (report.status("warning"), report.status("error")) == (1, 0)
  bad = audit(put([traj(0, reward=None)]), QUICK)
  assert bad.status("error") == 1
  assert bad.facts is None
  assert bad.scan.rows == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_files_that_are_not_whole(put, tmp_path, name):
  path = put(some(), name)
  content = (tmp_path / name).read_bytes()
  (tmp_path / name).write_bytes(content[: len(content) // 2 - 5])
  report = audit(path, QUICK)
  assert report.status() == 1
  whole = name == "a.jsonl"
  (found,) = [f for f in report.findings if f.severity == "error"]
  assert found.kind == ("bad_rows" if whole else "bad_file")
  where = found.where[0] if whole else found.what
  assert name in where
  assert ("mid-line" if whole else "not a whole") in where


def test_not_utf8(tmp_path):
  lines = [json.dumps(traj(i)).encode() for i in range(4)]
  lines[2] = lines[2].replace(b"answer", b"\xff\xfe\xc3(")
  path = tmp_path / "a.jsonl"
  path.write_bytes(b"\n".join(lines))
  report = audit(str(path), QUICK)
  assert rows_of(report.findings, "bad_rows") == [2]
  assert "not valid UTF-8" in str(report.findings[0])


@pytest.mark.parametrize(
  ("gone", "kind", "words"),
  [
    ("completion", "bad_file", "without 'completion'"),
    ("reward", "no_feedback", "a column 'reward' may be missing"),
  ],
)
def test_a_column_is_absent(put, gone, kind, words):
  report = audit(put([traj(i, **{gone: ...}) for i in range(8)]), QUICK)
  (found,) = [f for f in report.findings if f.kind == kind]
  assert words in str(found)
  assert report.status() == 1


def test_demonstrations_need_no_feedback(put):
  rows = [{"prompt": f"p{i}", "completion": "c"} for i in range(4)]
  assert audit(put(rows), QUICK).status() == 0


def test_files_of_other_columns(put):
  one = put([traj(i) for i in range(4)], "a.jsonl")
  two = put([label(i, True) for i in range(4)], "b.jsonl")
  report = audit(f"{one},{two}", QUICK)
  (found,) = [f for f in report.findings if f.kind == "bad_file"]
  assert found.what.startswith(f"{two} gives completion, label")
  assert report.scan.rows == 4


def test_a_path_that_looks_like_one_of_the_hub(monkeypatch):
  def load_dataset(*_, **__):
    raise ConnectionError("no network")

  monkeypatch.setattr(datasets, "load_dataset", load_dataset)
  with pytest.raises(UserError, match="nothing local is called 'a/b'"):
    audit("a/b", QUICK)


def test_every_bad_file_of_the_shared_data(shared_data):
  folder = shared_data / "bad"
  entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
  for entry in entries:
    name = entry["file"]
    report = audit(str(folder / name), QUICK)
    assert report.status() == 1, name
    severe = [f for f in report.findings if f.severity != "note"]
    kinds = {f.kind for f in severe}
    said = "\n".join(map(str, severe))
    whole = name.startswith(("missing_column", "truncated.parquet"))
    expected = {
      "missing_column.parquet": "no_feedback",
      "empty_completion.jsonl": "empty_completions",
      "empty_prompt.jsonl": "empty_prompts",
      "chosen_equals_rejected.jsonl": "equal_pairs",
      "huge_completion.jsonl": "huge_completions",
      "duplicate_rows.jsonl": "duplicate_rows",
    }.get(name, "bad_file" if whole else "bad_rows")
    assert expected in kinds, (name, said)
    if not whole:
      assert rows_of(severe, expected) == entry["bad_rows"], (name, said)
