"""Tables of a page as data: columns that sort, cells, asides and shades."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from offalign.pages.templates import Content

Order = Literal["ascending", "descending"]


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a table.

  Attributes:
    title: the heading.
    numeric: aligned to the right in figures of one width, sorted by value.
    help: the column's meaning, a tooltip on the heading; "" for none.
    first: the order that the first click sorts by.
    sorted: the order in which the rows come already; "" where they do not.
    sortable: whether the heading sorts (in a table that does).
    header: whether the column names the rows; it then stays in view while
      the others scroll.
  """

  title: str
  numeric: bool = False
  help: str = ""
  first: Order = "ascending"
  sorted: Order | Literal[""] = ""
  sortable: bool = True
  header: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
  """A cell of a table.

  Attributes:
    content: text or markup.
    aside: a fainter rest, such as "± 0.004"; where a column has any, the
      contents before them stay aligned.
    key: the value to sort by; by default the number that the content reads,
      or the content itself. Cells without a number come last in either order.
    shade: background, from -1 (the one colour) over 0 (none) to 1 (the other).
    help: a tooltip; "" for none.
  """

  content: Content
  aside: str = ""
  key: float | str | None = None
  shade: float = 0.0
  help: str = ""

  @property
  def percent(self) -> int:
    """The shade's strength in percent, below 0 for the one colour."""
    if not math.isfinite(self.shade):
      return 0
    return round(max(-1.0, min(self.shade, 1.0)) * 100)


class Placed(NamedTuple):
  """A cell in its column.

  Attributes:
    column: the cell's column.
    cell: the cell.
    pad: the column's longest aside, which aligns cells without one.
    key: what the page's script compares, "" comes last; None in a column
      that does not sort.
  """

  column: Column
  cell: Cell
  pad: str
  key: str | None


class Line(NamedTuple):
  """A row of a table, ready for the template.

  Attributes:
    faint: whether it stands back.
    cells: one for each column.
  """

  faint: bool
  cells: list[Placed]


@dataclasses.dataclass(frozen=True)
class Table:
  """A table; the macro `table` of pages/parts.html shows it.

  Without scripts the table is whole and does not sort.

  Attributes:
    columns: from left to right.
    rows: as many cells each as there are columns; text stands for a `Cell`.
    caption: a sentence above the table.
    label: the table's name for screen readers; by default the caption.
    sortable: whether the headings sort. A table of one row does not.
    faint: numbers of the rows that stand back.

  Raises:
    ValueError: where a row has another number of cells.
  """

  columns: Sequence[Column]
  rows: Sequence[Sequence[Cell | Content]]
  caption: Content = ""
  label: str = ""
  sortable: bool = True
  faint: Collection[int] = ()

  def __post_init__(self) -> None:
    for number, row in enumerate(self.rows):
      if len(row) != len(self.columns):
        raise ValueError(
          f"row {number} has {len(row)} cells for {len(self.columns)} columns"
        )

  @property
  def name(self) -> str:
    """The name for screen readers."""
    return self.label or Markup(escape(self.caption)).striptags() or "Table"

  @property
  def sorts(self) -> bool:
    """Whether there is anything to sort."""
    return self.sortable and len(self.rows) > 1

  def lines(self) -> Iterator[Line]:
    """Yields the rows with what their cells need to be aligned and sorted."""
    rows = [
      [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
      for row in self.rows
    ]
    pads = [
      max((row[i].aside for row in rows), key=len, default="")
      for i in range(len(self.columns))
    ]
    for number, row in enumerate(rows):
      cells = [
        Placed(
          column,
          cell,
          pad,
          _key(cell, column) if self.sorts and column.sortable else None,
        )
        for column, cell, pad in zip(self.columns, row, pads, strict=True)
      ]
      yield Line(number in self.faint, cells)


def _key(cell: Cell, column: Column) -> str:
  """What the script compares; "" comes last."""
  if not column.numeric:
    text = cell.content if cell.key is None else str(cell.key)
    return str(Markup(escape(text)).striptags())
  value = cell.content if cell.key is None else cell.key
  if isinstance(value, str):
    value = value.replace(",", "").replace("\N{MINUS SIGN}", "-").strip(" %")
  try:
    number = float(value)
  except ValueError:
    return ""
  if math.isinf(number):  # as the script spells it
    return "Infinity" if number > 0 else "-Infinity"
  return "" if math.isnan(number) else repr(number)
