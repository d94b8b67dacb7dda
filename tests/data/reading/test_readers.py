import gzip
import json
import os

import datasets
import feedback_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offalign import data
from offalign.errors import UserError

ROWS = [
  {"prompt": f"p{i}", "completion": f"é{i}\r\n", "reward": i / 4}
  for i in range(5)
]


def texts(table):
  return [(r.prompt, *r.completions, *(r.rewards or ())) for r in table.records]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_formats_agree(write, name):
  path = write(ROWS, name)
  table = data.load(path)
  assert texts(table) == [tuple(row.values()) for row in ROWS]
  assert [r.source for r in table.records] == [f"{path}:{i}" for i in range(5)]
  assert table.summary.form == "traj"
  assert table.problems == ()


def test_every_kind_of_file_holds_the_same_rows(tmp_path):
  rows = [*ROWS, {"prompt": "a,\t'\"", "completion": "\n;", "reward": -1.0}]
  for path in feedback_files.every_kind(rows, tmp_path):
    table = data.load(path)
    assert texts(table) == [tuple(row.values()) for row in rows], path
    assert [int(r.source.rpartition(":")[2]) for r in table.records] == [
      *range(6)
    ]


def test_folder_glob_and_list_read_every_file_once_in_order(write, tmp_path):
  write(ROWS[:2], "d/b.parquet")
  write(ROWS[2:3], "d/a.jsonl")
  (tmp_path / "d" / "README.md").write_text("words")
  expected = texts(data.load(write(ROWS[2:3] + ROWS[:2], "all.jsonl")))
  folder = data.load(tmp_path / "d")
  assert texts(folder) == expected
  assert "files not read: README.md" in str(folder.summary)
  assert texts(data.load(f"{tmp_path}/d/*.*l*")) == expected[:1]
  assert (
    texts(data.load(f"{tmp_path}/d/a.jsonl, {tmp_path}/d/b.parquet"))
    == expected
  )


def test_a_file_named_twice_is_refused(write, tmp_path):
  path = write(ROWS)
  with pytest.raises(UserError, match="named twice"):
    data.load(f"{path},{tmp_path}/*.jsonl")


def test_a_name_with_a_comma_is_a_file_if_there_is_one(write):
  assert len(data.load(write(ROWS, "a,b.jsonl")).records) == 5


def test_nothing_there(tmp_path):
  with pytest.raises(UserError, match=r"no file or folder .*absent'"):
    data.load(tmp_path / "absent")
  with pytest.raises(UserError, match=r"no file or folder 'absent0'"):
    data.load(",".join(f"absent{i}" for i in range(50)))
  with pytest.raises(UserError, match="no file or folder '~nobody/"):
    data.load("~nobody/a/b.jsonl")
  with pytest.raises(UserError, match="path is empty"):
    data.load(" ")


def test_unreadable_kinds_of_file(tmp_path):
  (tmp_path / "rows.xlsx").write_text("a,b\n")
  with pytest.raises(UserError, match=r"rows\.xlsx is none of \.parquet"):
    data.load(tmp_path / "rows.xlsx")
  with pytest.raises(UserError, match=r"holds no \.parquet"):
    data.load(tmp_path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_no_rows(write, name):
  with pytest.raises(UserError, match="has no rows"):
    data.load(write([], name))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_half_a_parquet_file(write, keep):
  path = write(ROWS, "a.parquet")
  content = path.read_bytes()
  path.write_bytes(content[: int(keep * len(content))])
  for bad_rows in ("error", "skip"):
    with pytest.raises(UserError, match="not a whole Parquet file") as error:
      data.load(path, bad_rows=bad_rows)
    assert "\n" not in str(error.value)


def test_half_a_gzip_file(write):
  noise = [dict(r, prompt=os.urandom(200).hex()) for r in ROWS]
  path = write(noise, "a.jsonl.gz")
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  with pytest.raises(UserError, match="not a whole gzip file"):
    data.load(path, bad_rows="skip")


def test_what_is_called_gz_but_is_not(tmp_path):
  path = tmp_path / "a.jsonl.gz"
  path.write_text(json.dumps(ROWS[0]))
  with pytest.raises(UserError, match="not a whole gzip file"):
    data.load(path)


def good(i=0):
  return json.dumps(ROWS[i]).encode()


@pytest.mark.parametrize(
  ("line", "what"),
  [
    (b'{"prompt": "x", "comp', "not valid JSON: Invalid control character"),
    (b"{} {}", "not valid JSON: Extra data at character 3"),
    (b'["prompt"]', "not a JSON object but a list"),
    (b"null", "not a JSON object but null"),
    (b"3", "not a JSON object but a number"),
    (b'{"prompt": "\xff"}', "not valid UTF-8: byte 0xff at byte 12"),
    (b'{"reward": 1, "reward": 2}', "key 'reward' appears twice"),
    (b"[" * 200_000, "JSON nested too deeply"),
    (b"1" * 5000, "digit"),
  ],
)
def test_lines_that_are_no_rows(tmp_path, line, what):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b"\n".join([good(0), line, good(1), line, b""]))
  table = data.load(path, bad_rows="skip")
  assert [r.source for r in table.records] == [f"{path}:0", f"{path}:2"]
  assert [p.row for p in table.problems] == [1, 3]
  assert all(what in p.what for p in table.problems), table.problems
  with pytest.raises(UserError, match=r"2 of 4 rows .*\n.*, row 1: "):
    data.load(path)


def test_a_last_line_cut_short_says_so(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(good(0) + b"\n" + good(1)[:-10])
  with pytest.raises(UserError, match=r"row 1: .*the file ends here, mid-line"):
    data.load(path)


def test_harmless_oddities_of_lines(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(
    b"\xef\xbb\xbf" + good(0) + b"\r\n\r\n" + good(1) + b"\n \n" + good(2)
  )
  table = data.load(path)
  assert [r.source for r in table.records] == [f"{path}:{i}" for i in (0, 2, 4)]
  assert table.summary.counts["blank_lines"] == 2
  assert "2 blank lines passed over" in str(table.summary)


def test_invalid_utf8_in_parquet_is_found_by_row(tmp_path):
  raw = pa.array([b"a", b"\xff\xfe", b"c"]).cast(pa.binary())
  as_text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
  table = pa.table(
    {"prompt": ["x"] * 3, "completion": as_text, "reward": [1.0] * 3}
  )
  path = tmp_path / "a.parquet"
  pq.write_table(table, path)
  loaded = data.load(path, bad_rows="skip")
  assert [r.completions for r in loaded.records] == [("a",), ("c",)]
  assert [str(p) for p in loaded.problems] == [
    f"{path}, row 1: not valid UTF-8"
  ]


def hub(monkeypatch, splits):
  """Puts a data set where the hub would be."""
  asked = []

  def load_dataset(name, split=None, **others):
    asked.append((name, split, others))
    found = {k: datasets.Dataset.from_list(v) for k, v in splits.items()}
    return datasets.DatasetDict(found) if split is None else found[split]

  monkeypatch.setattr(datasets, "load_dataset", load_dataset)
  return asked


def test_hub_data_set(monkeypatch):
  asked = hub(monkeypatch, {"train": ROWS, "test": ROWS[:1]})
  table = data.load("org/name:test")
  assert texts(table) == [tuple(ROWS[0].values())]
  assert table.records[0].source == "org/name:test:0"
  assert asked == [("org/name", "test", {})]  # and no code of its own is run
  with pytest.raises(UserError, match=r"splits train, test.*org/name:train"):
    data.load("org/name")
  hub(monkeypatch, {"only": ROWS})
  assert len(data.load("org/name").records) == 5


def test_rows_are_counted_across_the_chunks_of_a_read(monkeypatch):
  rows = [{"prompt": f"p{i}", "completion": "y"} for i in range(2500)]
  rows[2300]["completion"] = None
  hub(monkeypatch, {"train": rows})
  table = data.load("org/name", bad_rows="skip")
  assert [p.row for p in table.problems] == [2300]
  assert table.records[-1].source == "org/name:2499"
  assert table.records[1234].prompt == "p1234"


def test_hub_out_of_reach(monkeypatch):
  def load_dataset(*_, **__):
    raise ConnectionError("Couldn't reach\nthe hub")

  monkeypatch.setattr(datasets, "load_dataset", load_dataset)
  with pytest.raises(UserError, match="nothing local is called") as error:
    data.load("org/name")
  assert "\n" not in str(error.value)


def test_a_local_path_is_never_looked_for_on_the_hub(
  monkeypatch, write, tmp_path
):
  asked = hub(monkeypatch, {"train": ROWS})
  write(ROWS[:2], "org/name/a.jsonl")
  monkeypatch.chdir(tmp_path)
  assert len(data.load("org/name").records) == 2
  with pytest.raises(UserError, match="no file or folder"):
    data.load("org/name.jsonl")
  assert asked == []


def test_gzip_members_are_read_to_the_end(tmp_path):
  path = tmp_path / "a.jsonl.gz"
  path.write_bytes(b"".join(gzip.compress(good(i) + b"\n") for i in range(3)))
  assert len(data.load(path).records) == 3


def test_a_parquet_column_whose_name_is_not_utf8(tmp_path):
  path = tmp_path / "rows.parquet"
  pq.write_table(pa.table({"prompt": ["p"], "xxxx": ["a"]}), path)
  path.write_bytes(path.read_bytes().replace(b"xxxx", b"\xff\xfe\xff\xfe"))
  with pytest.raises(UserError, match=r"Parquet|not valid UTF-8"):
    data.load(path)
