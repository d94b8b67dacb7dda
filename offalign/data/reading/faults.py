"""What is wrong with a cell, in words; and whether one holds anything."""

import datetime
import decimal
import math
from typing import Any

from offalign.data.reading.arrow_rows import Unreadable
from offalign.data.reading.records import quote
from offalign.errors import option


class Fault(Exception):
  """What is wrong with a cell, in words that follow "column 'x': "."""


def text(value: Any) -> str:
  """A string that can be written as UTF-8."""
  if not isinstance(value, str):
    raise Fault(f"{describe(value)} where text belongs{_text_cure(value)}")
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
  """Whether a value says as little as null; 0 and False do not.

  NaN does: pandas writes it for what a row lacks. Of a cell that holds text,
  ask `is_blank`.
  """
  if isinstance(value, str):
    return value.strip() in ("", "null", "[]", "{}")
  if isinstance(value, list | dict):
    return not value
  return is_blank(value)


def is_blank(value: Any) -> bool:
  """Whether a cell of text is null, NaN or white space; "[]" is a text."""
  if isinstance(value, str):
    return not value.strip()
  return value is None or (isinstance(value, float) and math.isnan(value))


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
  if isinstance(value, bytes):
    return "bytes"
  if isinstance(value, decimal.Decimal):
    return f"the number {value}"
  if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
    return f"the time {value}"
  if isinstance(value, Unreadable):
    return f"a value of type {value.kind}"
  return f"a value of type {type(value).__name__}"


def _text_cure(value: Any) -> str:
  if isinstance(value, bytes):
    return "; cast the column to strings, as pyarrow's cast('string') does"
  if isinstance(value, dict) and len(value) < 9:
    texts = [str(k) for k, held in value.items() if isinstance(held, str)]
    if texts:
      usual = [
        k for k in texts if k in ("value", "content", "text", "response")
      ]
      example = f"...=COLUMN.{(usual or texts)[0][:40]}"
      return f"; read a key of it with {option('columns', repr(example))}"
  return ""
