"""Rows of a chosen and a rejected completion."""

from typing import Any

from offalign.data.reading import marks, parsing
from offalign.data.reading.cells import Cells
from offalign.data.reading.forms import MARGIN
from offalign.data.reading.logged_tokens import PAIR_IDS, PAIR_LOGPROBS
from offalign.data.reading.marks import Marks
from offalign.data.reading.records import Record
from offalign.data.reading.row_layout import Layout, logged_sum


def pair(layout: Layout, cells: Cells, source: str) -> Record:
  """A row with a chosen and a rejected completion.

  Args:
    layout: of the file.
    cells: of the row; what is wrong with them is noted in it.
    source: file and number of the row.

  Returns:
    The record; made of stand-ins where a cell is wrong.
  """
  if is_implicit(layout, cells.row):
    prompt, chosen, rejected = cells.split() or ("", "", "")
  else:
    prompt = cells.read("prompt", parsing.prompt)
    chosen = cells.read("chosen", parsing.reply, prompt)
    rejected = cells.read("rejected", parsing.reply, prompt)
  rewards = layout.rewards(cells, layout.both_rewards or ("none",))
  sums: list[float | None] = [None]
  if PAIR_IDS[0] in layout.used and not cells.faults:
    chosen, rejected = (
      layout.with_tokens(cells, text, *columns)
      for text, *columns in zip(
        (chosen, rejected), PAIR_IDS, PAIR_LOGPROBS, strict=True
      )
    )
    sums = [logged_sum(cells, text, None) for text in (chosen, rejected)]
  known: list[Marks | None] = [None, None]
  if not cells.faults:
    sides = zip((chosen, rejected), marks.PAIR, strict=True)
    known = [layout.marks(cells, text, names) for text, names in sides]
  margin = None
  if MARGIN in layout.used and cells.row.get(MARGIN) is not None:
    margin = cells.read(MARGIN, parsing.number)
    if margin is None:
      cells.faults[MARGIN] += (
        ' (it holds how much better "chosen" was rated; rename a column of '
        "another meaning)"
      )
  logged = tuple(x for x in sums if x is not None)
  return Record(
    prompt,
    (chosen, rejected),
    rewards if layout.aspects is None else None,
    None,
    True,
    source,
    logged if len(logged) == 2 else None,
    margin=margin,
    aspects=rewards if layout.aspects is not None else None,
    marks=None
    if known == [None, None]
    else tuple(each or Marks() for each in known),
  )


def is_implicit(layout: Layout, row: dict[str, Any]) -> bool:
  """Whether chosen and rejected repeat the prompt.

  They do without a prompt column, and in data sets whose prompt column
  keeps the text of the first turn beside whole conversations.
  """
  if "prompt" not in layout.used:
    return True
  return isinstance(row.get("prompt"), str) and all(
    isinstance(row.get(c), list) and len(row[c]) > 1
    for c in ("chosen", "rejected")
  )
