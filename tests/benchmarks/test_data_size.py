"""The rows of the benchmark of data sizes, and what it prints."""

import json

import pytest

from benchmarks import data_size
from offalign import data


@pytest.mark.parametrize("form", sorted(data_size.LOSSES))
def test_rows_are_of_the_form_and_size_that_are_said(form, tmp_path):
  path = tmp_path / "rows.jsonl"
  data_size.write(path, 200, form)
  table = data.load(path)
  assert table.summary.form == form
  assert table.summary.counts["prompts"] == 200
  assert 330 < path.stat().st_size / 200 < 430
  again = tmp_path / "again.jsonl"
  data_size.write(again, 200, form)
  assert again.read_bytes() == path.read_bytes()


def test_a_result_is_a_row_of_the_table():
  result = {
    "rows": 1000000,
    "form": "traj",
    "tokenizer": "byte",
    "file_mib": 355,
    "tokens": 1 << 28,
    "peak_mib": 2048,
    "seconds": {"reading": 9.6, "views": 2.0, "tokenising": 30.0},
  }
  assert data_size.table_row(json.loads(json.dumps(result))) == (
    "| 1,000,000 | traj | byte | 355 MiB | 1,024 MiB | 2.00 GiB | "
    "10 + 2 + 0 + 30 + 0 |"
  )
