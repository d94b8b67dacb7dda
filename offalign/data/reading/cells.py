"""Cells of a row, read one by one, and what is wrong with them."""

from typing import Any

from offalign.data.reading import parsing
from offalign.data.reading.parsing import Fault
from offalign.data.reading.records import Prompt


class Cells:
  """Cells of a row, and the faults that are found in them."""

  def __init__(self, row: dict[str, Any]):
    """Takes the row; nothing is wrong with it yet."""
    self.row = row
    self.faults: dict[str, str] = {}

  def read(self, column: str, parse: Any, *more: Any) -> Any:
    """Parses a cell; None, and a fault noted, where it is wrong."""
    try:
      if column not in self.row:
        raise Fault("missing")
      if self.row[column] is None:
        raise Fault("null")
      return parse(self.row[column], *more)
    except Fault as fault:
      self.faults[column] = str(fault)
      return None

  def noting(
    self, column: str, otherwise: Any, make: Any, where: str = ""
  ) -> Any:
    """What `make` makes; `otherwise`, and a fault noted, where it refuses."""
    try:
      return make()
    except Fault as fault:
      self.faults[column] = f"{where}{fault}"
      return otherwise

  def split(self) -> tuple[Prompt, str, str] | None:
    """Finds the implicit prompt of a pair."""
    both = [
      self.read(c, parsing.whole_conversation_or_text)
      for c in ("chosen", "rejected")
    ]
    if self.faults:
      return None
    try:
      return parsing.split_pair(*both)
    except Fault as fault:
      self.faults["chosen"] = str(fault)
      return None
