"""Rows of one completion, in all their forms."""

from offalign.data.reading import mark_cells, marks, parsing
from offalign.data.reading.cells import Cells
from offalign.data.reading.logged_tokens import IDS, LOGPROBS
from offalign.data.reading.marks import Marks
from offalign.data.reading.records import Record
from offalign.data.reading.row_layout import Layout, logged_sum


def single(layout: Layout, cells: Cells, source: str) -> Record:
  """A row with one completion.

  Args:
    layout: of the file.
    cells: of the row; what is wrong with them is noted in it.
    source: file and number of the row.

  Returns:
    The record; made of stand-ins where a cell is wrong.
  """
  known: Marks | None = None
  if layout.form.name in ("steps", "stepwise"):
    prompt = cells.read("prompt", parsing.prompt)
    completion, known = _steps(layout, cells)
  elif layout.form.name == "messages":
    whole = cells.read("messages", parsing.dialogue)
    prompt, completion = whole or ("", "")
  elif layout.form.name == "sharegpt":
    system = cells.row.get("system")
    whole = cells.read("conversations", parsing.sharegpt, system)
    prompt, completion = whole or ("", "")
  elif layout.form.name == "alpaca":
    prompt = cells.read("instruction", parsing.text)
    if not parsing.is_blank(cells.row.get("input")):
      more = cells.read("input", parsing.text)
      prompt = f"{prompt}\n\n{more}"
    completion = cells.read("output", parsing.text)
  else:
    prompt = cells.read("prompt", parsing.prompt)
    completion = cells.read("completion", parsing.reply, prompt)
  label = logged = None
  rewards = layout.rewards(cells, ("reward",))
  if "label" in layout.used:
    label = cells.read("label", parsing.label, layout.int_labels)
  if "behaviour_logps" in layout.used:
    logged = cells.read("behaviour_logps", parsing.number)
  if IDS in layout.used and completion is not None:
    completion = layout.with_tokens(cells, completion, IDS, LOGPROBS)
    logged = logged_sum(cells, completion, logged)
  if completion is not None:
    known = known or layout.marks(cells, completion, marks.SINGLE)
  return Record(
    prompt,
    (completion,),
    rewards if layout.aspects is None else None,
    None if label is None else (label,),
    False,
    source,
    None if logged is None else (logged,),
    aspects=rewards if layout.aspects is not None else None,
    marks=None if known is None else (known,),
  )


def _steps(layout: Layout, cells: Cells) -> tuple[str, Marks | None]:
  """A completion that is given as steps, and the spans of these."""
  if layout.form.name == "steps":
    read = cells.read(marks.STEPS, mark_cells.steps, layout.int_labels)
  else:
    labels = cells.row.get("labels")
    stepwise = mark_cells.stepwise
    read = cells.read("completions", stepwise, labels, layout.int_labels)
  return read or ("", None)
