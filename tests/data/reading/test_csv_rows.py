import csv
import gzip

import pytest

from offalign import data
from offalign.errors import UserError

ROWS = [
  {"prompt": "a, b", "completion": 'say "x"\nand\r\ny', "reward": 0.5},
  {"prompt": "é", "completion": " c ", "reward": -2},
]


def write(path, rows=ROWS, **how):
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, rows[0], **how)
    writer.writeheader()
    writer.writerows(rows)
  return path


def texts(table):
  return [(r.prompt, *r.completions, *(r.rewards or ())) for r in table.records]


@pytest.mark.parametrize(
  ("name", "sign"),
  [("a.csv", ","), ("a.tsv", "\t"), ("A.CSV", ","), ("a.csv", ";")],
)
def test_tables_of_text(tmp_path, name, sign):
  path = write(tmp_path / name, delimiter=sign)
  table = data.load(path)
  assert texts(table) == [tuple(row.values()) for row in ROWS]
  assert [r.source for r in table.records] == [f"{path}:0", f"{path}:1"]
  assert "is a file of text: reward read as numbers" in str(table.summary)
  assert ("separated by ';'" in str(table.summary)) == (sign == ";")


def test_gzip_and_a_byte_order_mark(tmp_path):
  raw = write(tmp_path / "a.csv").read_bytes()
  packed = tmp_path / "b.csv.gz"
  packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + raw))
  assert texts(data.load(packed)) == texts(data.load(tmp_path / "a.csv"))
  packed.write_bytes(packed.read_bytes()[:-20])
  with pytest.raises(UserError, match="not a whole gzip file"):
    data.load(packed)


def test_rows_that_are_none_are_named_where_they_are(tmp_path):
  path = tmp_path / "a.csv"
  path.write_bytes(
    b"prompt,completion,reward\na,b,1\na\nc,d,2\n\na,b,c,d\n"
    b'\xff,d,3\n"e\nf",g,4\nh,\0,5\nx,y,high\n'
  )
  table = data.load(path, bad_rows="skip")
  assert texts(table) == [("a", "b", 1), ("c", "d", 2), ("e\nf", "g", 4)]
  said = {p.row: p.what for p in table.problems}
  assert list(said) == [1, 3, 4, 6, 7]
  assert said[1] == "1 cell where 3 belong"
  assert said[3].startswith("4 cells where 3 belong; put text that has")
  assert "not valid UTF-8" in said[4]
  assert "a NUL byte" in said[6]
  assert said[7] == "the text 'high' where a number belongs"
  path.write_bytes(b"prompt,completion,reward\na,b,1\n\xff\nc,\xe9,2\n")
  table = data.load(path, bad_rows="skip")
  assert [(p.row, p.what) for p in table.problems] == [
    (row, "not valid UTF-8; write the file anew as UTF-8") for row in (1, 2)
  ]
  path.write_bytes(b"prompt,compl\xe9tion\na,b\n")
  with pytest.raises(UserError, match=r"name in .* is not valid UTF-8"):
    data.load(path)
  path.write_text('prompt,completion,reward\na,"b,1\nc,d,2\n')
  with pytest.raises(UserError, match="a quote is opened and never closed"):
    data.load(path)


def test_row_numbers_of_a_file_of_several_blocks(tmp_path, monkeypatch):
  monkeypatch.setattr("offalign.data.reading.csv_rows.LONGEST", 4096)
  rows = [f"p{i},{'x' * 50},{i}" for i in range(3000)]
  rows[2000] = "cut"
  path = tmp_path / "a.csv"
  path.write_text("\n".join(["prompt,completion,reward", *rows]))
  table = data.load(path, bad_rows="skip")
  assert [p.row for p in table.problems] == [2000]
  assert table.records[-1].source == f"{path}:2999"
  assert table.records[2500].prompt == "p2501"
  path.write_text(f"prompt,completion,reward\na,{'x' * 9000},1\n")
  with pytest.raises(UserError, match="a row longer than"):
    data.load(path)


def test_an_empty_cell_is_null_and_two_quotes_are_empty_text(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text('prompt,completion,reward\na,"",1\nb,,2\nc,d,\n')
  table = data.load(path, bad_rows="skip")
  assert texts(table) == [("a", "", 1.0)]
  assert [(p.row, p.column) for p in table.problems] == [
    (1, "completion"),
    (2, "reward"),
  ]


def test_labels_and_lists_are_read_from_text(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text("prompt,completion,label\na,b,True\nc,d,false\n")
  assert [r.labels for r in data.load(path).records] == [(True,), (False,)]
  path.write_text("prompt,completion,label\na,b,1\nc,d,0\n")
  with pytest.raises(UserError, match="int_labels=True"):
    data.load(path)
  table = data.load(path, int_labels=True)
  assert [r.labels for r in table.records] == [(True,), (False,)]
  chat = (
    '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'
  )
  rows = [{"messages": chat, "reward": 1}]
  (record,) = data.load(write(tmp_path / "b.csv", rows)).records
  assert (record.prompt[0].content, record.completions) == ("q", ("a",))
  rows = [{"messages": str([{"role": "user", "content": "q"}]), "reward": 1}]
  with pytest.raises(UserError, match="as JSON, not as Python prints"):
    data.load(write(tmp_path / "b.csv", rows))


@pytest.mark.parametrize("content", ["", "prompt,completion,reward\n", "\n"])
def test_no_rows(tmp_path, content):
  path = tmp_path / "a.csv"
  path.write_text(content)
  with pytest.raises(UserError, match="has no rows"):
    data.load(path)


def test_a_first_line_that_is_a_row(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text(f"{'How? ' * 30},fine,1\nb,c,2\n")
  with pytest.raises(UserError, match="first line seems to be a row"):
    data.load(path)


def test_utf16_says_so(tmp_path):
  for name, encoding in (
    ("a.csv", "utf-16"),
    ("a.jsonl", "utf-16"),
    ("b.json", "utf-16-le"),
    ("b.jsonl", "utf-32"),
  ):
    path = tmp_path / name
    path.write_text('[{"prompt": "a"}]', encoding=encoding)
    with pytest.raises(UserError, match=r"is UTF-(16|32) .*iconv -f UTF-"):
      data.load(path)


def test_a_file_of_bad_rows_alone_is_not_held(tmp_path, monkeypatch):
  monkeypatch.setattr("offalign.data.reading.csv_rows._MOST_BAD", 10)
  path = tmp_path / "a.csv"
  path.write_text("prompt,completion,reward\n" + "a,b\n" * 11)
  with pytest.raises(UserError, match="look at its separator"):
    data.load(path, bad_rows="skip")
