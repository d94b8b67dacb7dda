"""Fixtures that write rows of feedback to files."""

import csv
import gzip
import json
import pathlib
import sqlite3
from collections.abc import Callable

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Write = Callable[..., pathlib.Path]


@pytest.fixture
def write(tmp_path: pathlib.Path) -> Write:
  """Writes rows to a file whose format its name tells; returns the path."""

  def write(rows: list[dict], name: str = "rows.jsonl") -> pathlib.Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
      pq.write_table(pa.Table.from_pylist(rows), path)
      return path
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    return path

  return write


@pytest.fixture
def put(write: Write) -> Callable[..., str]:
  """As `write`; returns the path as text."""

  def put(rows: list[dict], name: str = "rows.jsonl") -> str:
    return str(write(rows, name))

  return put


def every_kind(rows: list[dict], folder: pathlib.Path) -> list[str]:
  """Writes flat rows to a file or table of each kind; returns the paths."""
  columns = list(rows[0])
  table = pa.Table.from_pylist(rows)
  pq.write_table(table, folder / "a.parquet")
  (folder / "a.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
  lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
  (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines))
  for name, sign in (("a.csv", ","), ("a.tsv", "\t")):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
      writer = csv.DictWriter(file, columns, delimiter=sign)
      writer.writeheader()
      writer.writerows(rows)
  db = sqlite3.connect(folder / "a.db")
  with db:
    db.execute(f"CREATE TABLE rows ({', '.join(columns)})")
    marks = ", ".join("?" * len(columns))
    values = [tuple(row.values()) for row in rows]
    db.executemany(f"INSERT INTO rows VALUES ({marks})", values)
  db.close()
  datasets.Dataset(table).save_to_disk(folder / "saved")
  names = ["a.parquet", "a.json", "a.jsonl.gz", "a.csv", "a.tsv", "saved"]
  return [
    *(f"{folder}/{name}" for name in names),
    f"{folder}/a.db::rows",
    f"{folder}/a.db::SELECT {', '.join(columns)} FROM rows",
  ]
