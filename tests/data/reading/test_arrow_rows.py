import datetime
import decimal
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offalign import data
from offalign.errors import UserError

ROWS = [
  {"prompt": f"p{i}", "completion": "é", "reward": i / 4} for i in range(5)
]


def texts(table):
  return [(r.prompt, *r.completions, *(r.rewards or ())) for r in table.records]


@pytest.fixture
def saved(tmp_path):
  datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
  both = {"train": ROWS, "test": ROWS[:1]}
  several = {k: datasets.Dataset.from_list(v) for k, v in both.items()}
  datasets.DatasetDict(several).save_to_disk(tmp_path / "two")
  return tmp_path


def test_saved_data_sets(saved):
  table = data.load(saved / "one")
  assert texts(table) == [tuple(row.values()) for row in ROWS]
  assert table.records[4].source == f"{saved}/one:4"
  assert len(data.load(f"{saved}/two:test").records) == 1
  assert len(data.load(f"{saved}/two/train").records) == 5
  with pytest.raises(UserError, match=r"the splits .*two:train"):
    data.load(saved / "two")
  with pytest.raises(UserError, match="no split 'val', but the splits 'train'"):
    data.load(f"{saved}/two:val")
  (file,) = (saved / "one").glob("*.arrow")
  assert len(data.load(file).records) == 5
  with pytest.raises(UserError, match="belongs to a saved data set"):
    data.load(saved / "one" / "state.json")


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"_data_files": [1]}'])
def test_damaged_saved_data_sets(saved, state):
  (saved / "one" / "state.json").write_text(state)
  with pytest.raises(UserError, match="does not say what files"):
    data.load(saved / "one")


def test_saved_data_sets_stay_in_their_folder_and_are_whole(saved):
  (file,) = (saved / "one").glob("*.arrow")
  path = saved / "one" / "state.json"
  state = json.loads(path.read_text())
  file.write_bytes(file.read_bytes()[:-200])
  with pytest.raises(UserError, match="not a whole folder of save_to_disk"):
    data.load(saved / "one")
  state["_data_files"] = [{"filename": "../two/train/x.arrow"}]
  path.write_text(json.dumps(state))
  with pytest.raises(UserError, match="not in its folder"):
    data.load(saved / "one")


def parquet(path, **columns):
  pq.write_table(pa.table(columns), path)
  return path


def test_types_that_mean_text_or_a_number(tmp_path):
  path = parquet(
    tmp_path / "a.parquet",
    prompt=pa.array(["x", "y", "x"]).dictionary_encode(),
    completion=pa.array(["a", "b", "c"], pa.large_string()),
    reward=pa.array([decimal.Decimal(x) for x in ("1.50", "0.25", "-1.00")]),
    when=pa.array([2**62, 0, 1], pa.timestamp("ms")),
  )
  assert texts(data.load(path)) == [
    ("x", "a", 1.5),
    ("y", "b", 0.25),
    ("x", "c", -1.0),
  ]


@pytest.mark.parametrize(
  ("cells", "column", "said"),
  [
    (pa.array([b"x"]), "prompt", "bytes where text belongs; cast the column"),
    (
      pa.array([datetime.datetime(2024, 1, 2)]),
      "reward",
      "the time 2024-01-02 00:00:00 where a number belongs",
    ),
    (
      pa.array([2**62], pa.timestamp("ms")),
      "reward",
      r"a value of type timestamp\[ms\] where a number",
    ),
  ],
)
def test_types_that_do_not(tmp_path, cells, column, said):
  row = {"prompt": pa.array(["x"]), "completion": pa.array(["a"])}
  path = parquet(
    tmp_path / "a.parquet", **{**row, "reward": pa.array([1.0]), column: cells}
  )
  with pytest.raises(UserError, match=said):
    data.load(path)
