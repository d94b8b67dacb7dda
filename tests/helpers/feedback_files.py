"""Fixtures that write rows of feedback to files."""

import gzip
import json
import pathlib
from collections.abc import Callable

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
