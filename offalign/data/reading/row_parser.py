"""Turns the rows of a file into records."""

import dataclasses
from typing import Any

from offalign.data.reading import (
  groups,
  marks,
  message_parts,
  pairs,
  parsing,
  rated_turns,
  singles,
)
from offalign.data.reading.aspects import Aspects
from offalign.data.reading.cells import Cells
from offalign.data.reading.forms import Form
from offalign.data.reading.records import Message, Problem, Record
from offalign.data.reading.row_layout import Layout
from offalign.errors import Sentence

_GROUPS = {"groups": groups.group, "ultrafeedback": groups.ultrafeedback}


class RowParser:
  """Turns the rows of one file into records.

  Attributes:
    layout: how they are read.
    set_aside: rows whose prompt column was not used, because chosen and
      rejected hold the whole conversation.
    metadata: keys of messages that are not read.
    tools: whether tools of a conversation were read.
    turn_key: the key of messages that rates turns of the assistant, in place
      of a column that rates the last; None = there is none.
  """

  def __init__(
    self,
    name: str,
    form: Form,
    columns: tuple[str, ...],
    *,
    int_labels: bool = False,
    aspects: Aspects | None = None,
  ):
    """Takes what rows have, and how they are read.

    Args:
      name: of the file.
      form: of the file.
      columns: what it has.
      int_labels: whether the numbers 0 and 1 are taken for labels.
      aspects: how rewards of several aspects add up; None = they are numbers.
    """
    self.layout = Layout.of(form, columns, int_labels, aspects)
    self.set_aside = 0
    self.metadata: dict[str, None] = {}
    self.tools = False
    self.turn_key: rated_turns.Key | None = None
    self._name = name

  @property
  def has_both_rewards(self) -> bool:
    """Whether pairs have a reward of each side."""
    return self.layout.both_rewards is not None

  def parse(self, number: int, row: dict[str, Any]) -> Record | list[Problem]:
    """Returns the record of a row, or everything that is wrong with it."""
    cells, source = Cells(row), f"{self._name}:{number}"
    record = self._record(cells, source)
    for column in self.layout.used:
      if column in marks.COLUMNS or column == marks.STEPS:
        continue
      keys = dict.fromkeys(parsing.metadata(row.get(column)))
      if self.turn_key is not None:
        keys.pop(self.turn_key, None)
      self.metadata.update(keys)
    if not parsing.is_empty(row.get("tools")):
      record = self._with_tools(record, cells)
    if cells.faults:
      return [
        Problem(self._name, number, column, Sentence(what))
        for column, what in cells.faults.items()
      ]
    return record

  def _record(self, cells: Cells, source: str) -> Record:
    name = self.layout.form.name
    if name == "pairs":
      implicit = pairs.is_implicit(self.layout, cells.row)
      self.set_aside += implicit and "prompt" in self.layout.used
      return pairs.pair(self.layout, cells, source)
    if name in _GROUPS:
      return _GROUPS[name](self.layout, cells, source)
    if self.turn_key is not None:
      return self._turns(cells, source)
    if name == "messages":
      self._check_turns(cells)
    return singles.single(self.layout, cells, source)

  def _with_tools(self, record: Record, cells: Cells) -> Record:
    """The record with the row's tools before its conversation."""
    if not isinstance(record.prompt, tuple):
      return record  # a column of plain text's, which is listed as not read
    self.tools = True
    tools = cells.read("tools", message_parts.tools)
    if tools is None:
      return record
    return dataclasses.replace(
      record,
      prompt=(tools, *record.prompt),
      turns=tuple((i + 1, value) for i, value in record.turns),
    )

  def is_unrated(self, row: dict[str, Any]) -> bool:
    """Whether turns are rated in their messages, and none of this row's is."""
    if self.turn_key is None:
      return False
    return not rated_turns.is_rated(row.get("messages"), self.turn_key)

  def _turns(self, cells: Cells, source: str) -> Record:
    """A conversation whose turns are rated in their messages."""
    key = self.turn_key
    read = cells.read("messages", rated_turns.read, key, self.layout.int_labels)
    messages, rated = read or ((Message("user", ""),) * 2, ((1, 0.0),))
    value: Any = (rated[-1][1],)
    return Record(
      messages[:-1],
      (messages[-1].content,),
      value if key == "reward" else None,
      value if key == "label" else None,
      False,
      source,
      turns=rated[:-1],
    )

  def _check_turns(self, cells: Cells) -> None:
    """Refuses ratings of turns that the first rows did not lead to expect."""
    if {"reward", "label"} & set(self.layout.used):
      return  # which are listed as not read
    key = rated_turns.key_of([cells.row.get("messages")])
    if key is not None:
      cells.faults["messages"] = (
        f"a message has a {key!r}, and none in the first rows of the file has; "
        "move a rated row to the beginning, or remove the key"
      )
