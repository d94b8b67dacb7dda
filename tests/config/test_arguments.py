import pytest

from offalign.config import DataConfig, arguments
from offalign.errors import UserError

TEXT = "completion=response, label=feedback.thumb:up/down"


@pytest.mark.parametrize(
  "columns",
  [TEXT, {"completion": "response", "label": "feedback.thumb:up/down"}],
)
def test_columns_are_text_or_a_dict(columns):
  rows = [{"prompt": "p", "response": "c", "feedback": {"thumb": "up"}}]
  read = arguments.read({"data": {"path": rows, "columns": columns}})
  assert read.data.columns == TEXT
  assert read.data == DataConfig(path=read.data.path, columns=TEXT)


def test_columns_of_another_type_are_refused():
  with pytest.raises(UserError, match=r"data\.columns must be str or None"):
    arguments.read({"data": {"path": "a.jsonl", "columns": ["a"]}})
