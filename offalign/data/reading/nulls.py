"""Nulls that a columnar file puts into tools and tool calls."""

from typing import Any

_NESTED = ("tools", "tool_calls")


def without_filling(row: dict[str, Any]) -> dict[str, Any]:
  """A row of a columnar file whose tools and calls have no null keys.

  Such a file gives all objects of a column the keys of each, null where one
  lacks them; a chat template would write them all.

  >>> without_filling({"tools": [{"name": "f", "strict": None}], "x": None})
  {'tools': [{'name': 'f'}], 'x': None}
  """
  return {key: _walk(value, key in _NESTED) for key, value in row.items()}


def _walk(value: Any, inside: bool) -> Any:
  if isinstance(value, list):
    return [_walk(item, inside) for item in value]
  if isinstance(value, dict):
    return {
      key: _walk(item, inside or key in _NESTED)
      for key, item in value.items()
      if not (inside and item is None)
    }
  return value
