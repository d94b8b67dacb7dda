import sqlite3

import pytest

from offalign import data
from offalign.data.reading import sqlite_rows
from offalign.errors import UserError

COLUMNS = "prompt=question, completion=answer, label=thumb:up/down"


@pytest.fixture
def log(tmp_path):
  path = tmp_path / "log.db"
  with sqlite3.connect(path) as db:
    db.execute("CREATE TABLE thumbs (id INTEGER, question, answer, thumb)")
    db.execute("CREATE TABLE users (id INTEGER)")
    rows = [
      (i, f"q{i}", f"a{i}", ["up", "down", None][i % 3]) for i in range(6)
    ]
    db.executemany("INSERT INTO thumbs VALUES (?, ?, ?, ?)", rows)
  db.close()
  return path


def test_a_table_and_a_query(log):
  table = data.load(f"{log}::thumbs", columns=COLUMNS)
  assert [r.labels for r in table.records] == [(True,), (False,)] * 2
  assert table.records[3].source == f"{log}::thumbs:4"
  assert table.summary.counts["unrated_rows"] == 2
  query = "SELECT question AS prompt, answer AS completion, id / 2.0 AS reward"
  table = data.load(f"{log}::{query} FROM thumbs WHERE id > 3")
  assert [r.rewards for r in table.records] == [(2.0,), (2.5,)]


def test_only_one_table_needs_no_name(tmp_path):
  path = tmp_path / "one.sqlite"
  with sqlite3.connect(path) as db:
    db.execute('CREATE TABLE "odd ""name" (prompt, completion, reward)')
    db.execute("""INSERT INTO "odd ""name" VALUES ('p', 'c', 1)""")
  db.close()
  assert len(data.load(path).records) == 1


@pytest.mark.parametrize(
  ("what", "said"),
  [
    ("", r"say which of its tables to read \('thumbs', 'users'\)"),
    ("::", "names no table"),
    ("::thumb", r"has no table 'thumb' \(its tables: 'thumbs', 'users'\)"),
    ("::SELECT * FROM nowhere", "no such table: nowhere"),
    ("::SELECT * FROM thumbs; DROP TABLE users", "one statement"),
    ("::WITH a AS (SELECT 1) DELETE FROM thumbs", "only SELECT is run"),
    ("::SELECT load_extension('x')", "only SELECT is run"),
    ("::SELECT id, id FROM thumbs", "two columns 'id'; name one of them with"),
    ("::SELECT id FROM users", "has no rows"),
  ],
)
def test_what_is_refused(log, what, said):
  before = log.read_bytes()
  with pytest.raises(UserError, match=said):
    data.load(f"{log}{what}")
  assert log.read_bytes() == before


def test_what_is_no_database(tmp_path):
  path = tmp_path / "a.db"
  path.write_text("prompt,completion\n" * 100)
  with pytest.raises(UserError, match="no whole SQLite database"):
    data.load(path)
  with pytest.raises(UserError, match=r"there is no database .*mean 'a\.db'"):
    data.load(f"{tmp_path}/b.db::t")
  sqlite3.connect(tmp_path / "c.db").execute("VACUUM").close()
  with pytest.raises(UserError, match="without a table"):
    data.load(tmp_path / "c.db")


def test_text_that_is_none_and_rows_that_never_come(log, monkeypatch):
  query = "SELECT 'p' AS prompt, CAST(x'ff' AS TEXT) AS completion, 1 AS reward"
  with pytest.raises(UserError, match="row 0: not valid UTF-8"):
    data.load(f"{log}::{query}")
  monkeypatch.setattr(sqlite_rows, "_MOST", 2)
  endless = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x+1 FROM c)"
  with pytest.raises(UserError, match="takes too long"):
    data.load(f"{log}::{endless} SELECT max(x) FROM c")
  query = "SELECT 'p' AS prompt, zeroblob(50000000) AS completion, 1 AS reward"
  with pytest.raises(UserError, match="cell longer than 16 MiB"):
    data.load(f"{log}::{query}")


def test_integers_and_json_in_text(log):
  chat = (
    """'[{"role": "user", "content": "q"}, """
    """{"role": "assistant", "content": "a"}]' AS messages"""
  )
  (record,) = data.load(f"{log}::SELECT {chat}").records
  assert (record.prompt[0].content, record.completions) == ("q", ("a",))
  rated = """SELECT 'p' AS prompt, 'c' AS completion, '{"score": 4}' AS meta"""
  (record,) = data.load(f"{log}::{rated}", columns="reward=meta.score").records
  assert record.rewards == (4.0,)
