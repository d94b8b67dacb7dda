"""What is wrong with a cell, in words; and whether one holds anything."""

from typing import Any

from offalign.data.reading.records import quote


class Fault(Exception):
  """What is wrong with a cell, in words that follow "column 'x': "."""


def text(value: Any) -> str:
  """A string that can be written as UTF-8."""
  if not isinstance(value, str):
    raise Fault(f"{describe(value)} where text belongs")
  if not value.isascii():
    try:
      value.encode("utf-8")
    except UnicodeEncodeError as error:
      raise Fault(
        f"half of a surrogate pair, {value[error.start]!r}, at character "
        f"{error.start}"
      ) from None
  return value


def is_empty(value: Any) -> bool:
  """Whether a value says as little as null; 0 and False do not."""
  if isinstance(value, str):
    return value.strip() in ("", "null", "[]", "{}")
  return value is None or (isinstance(value, list | dict) and not value)


def describe(value: Any) -> str:
  """ "a list", "the number 3": what a cell holds; for messages."""
  if value is None:
    return "null"
  if isinstance(value, bool):
    return f"the boolean {str(value).lower()}"
  if isinstance(value, int | float):
    return f"the number {value}"
  if isinstance(value, str):
    return f"the text {quote(value)}"
  if isinstance(value, list):
    return "a list"
  if isinstance(value, dict):
    return "an object"
  return f"a value of type {type(value).__name__}"
