import gzip
import json

import pytest

from offalign import data
from offalign.data.reading import json_rows
from offalign.errors import UserError

ROWS = [
  {"prompt": f"p{i}", "completion": 'é[]{},"' * i, "reward": i / 4}
  for i in range(7)
]


def texts(table):
  return [(r.prompt, *r.completions, *(r.rewards or ())) for r in table.records]


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz"])
def test_an_array_is_read_whatever_the_name(
  tmp_path, monkeypatch, name, indent, piece
):
  monkeypatch.setattr(json_rows, "_PIECE", piece)
  path = tmp_path / name
  raw = b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=indent).encode() + b"\n\n"
  path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
  table = data.load(path)
  assert texts(table) == [tuple(row.values()) for row in ROWS]
  assert table.records[6].source == f"{path}:6"


def test_lines_in_a_file_called_json(tmp_path):
  path = tmp_path / "a.json"
  path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
  assert len(data.load(path).records) == 7
  path.rename(tmp_path / "a.ndjson")
  assert len(data.load(tmp_path / "a.ndjson").records) == 7


def test_bad_items_of_an_array_are_named(tmp_path):
  good = json.dumps(ROWS[0])
  path = tmp_path / "a.json"
  path.write_text(f'[{good}, 3, {good}, {{"a": 1, "a": 2}}, null, {good}]')
  table = data.load(path, bad_rows="skip")
  assert [r.source[-1] for r in table.records] == ["0", "2", "5"]
  assert [(p.row, p.what) for p in table.problems] == [
    (1, "not a JSON object but a number"),
    (3, "key 'a' appears twice in one JSON object"),
    (4, "not a JSON object but null"),
  ]


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ('[{"prompt": "a"}, {"prompt": "b', "row 1: Unterminated"),
    ('[{"prompt": "a"}, {"prompt"; "b"}]', "row 1: Expecting ':'"),
    ('[{"prompt": "a"}', "the file ends where ',' belongs after row 0"),
    ('[{"prompt": "a"} {"prompt": "b"}]', "'{' comes where ',' belongs"),
    ('[{"prompt": "a"}] []', "goes on after its JSON array ends"),
    ("[" + '{"a":' * 100_000, "nested too deeply"),
    ("[]", "has no rows"),
    ('{\n "data": [\n]}', "an object over several lines"),
    ('{"data": [{"prompt": "a", "completion": "b"}]}', "the list under 'data'"),
  ],
)
def test_what_is_no_array_of_rows(tmp_path, text, said):
  path = tmp_path / "a.json"
  path.write_text(text)
  for bad_rows in ("error", "skip"):
    with pytest.raises(UserError) as error:
      data.load(path, bad_rows=bad_rows)
    assert said in str(error.value)


def test_rows_too_long_to_be_held(tmp_path, monkeypatch):
  monkeypatch.setattr(json_rows, "LONGEST", 200)
  monkeypatch.setattr(json_rows, "_PIECE", 50)
  path = tmp_path / "a.jsonl"
  rows = [ROWS[0], {**ROWS[1], "completion": "x" * 900}, ROWS[2]]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  table = data.load(path, bad_rows="skip")
  assert [p.row for p in table.problems] == [1]
  assert "no row of feedback" in table.problems[0].what
  assert len(table.records) == 2
  path.write_text(json.dumps(rows))
  with pytest.raises(UserError, match="row 1: longer than"):
    data.load(path)


def test_a_byte_order_mark_of_a_file_put_behind_another(tmp_path):
  path = tmp_path / "a.jsonl"
  lines = [b"\xef\xbb\xbf" + json.dumps(row).encode() for row in ROWS]
  path.write_bytes(b"\n".join(lines))
  assert len(data.load(path).records) == 7
