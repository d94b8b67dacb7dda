import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offalign import data
from offalign.data.reading import stream
from offalign.errors import UserError


def test_two_columns_of_one_name_are_refused_in_every_kind(tmp_path):
  stream.check_distinct("a", ("b", "c"))
  csv, parquet = tmp_path / "a.csv", tmp_path / "a.parquet"
  csv.write_text("prompt,completion,prompt\na,b,c\n")
  columns = [pa.array(["a"])] * 3
  table = pa.Table.from_arrays(columns, ["prompt", "completion", "prompt"])
  pq.write_table(table, parquet)
  for path in (csv, parquet):
    with pytest.raises(UserError, match="two columns 'prompt'"):
      data.load(path)


def test_more_columns_than_feedback_has_are_refused(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text(",".join(f"c{i}" for i in range(10_001)) + "\n1\n")
  with pytest.raises(UserError, match="has 10,001 columns, and at most 10,000"):
    data.load(path)
