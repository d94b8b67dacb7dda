"""Rows of several completions of a prompt."""

from typing import Any

from offalign.data.reading import logged_tokens, marks, parsing
from offalign.data.reading.cells import Cells
from offalign.data.reading.faults import describe
from offalign.data.reading.logged_tokens import IDS, LOGPROBS
from offalign.data.reading.marks import Marks
from offalign.data.reading.records import Record
from offalign.data.reading.row_layout import Layout, logged_sum


def group(layout: Layout, cells: Cells, source: str) -> Record:
  """A row with completions and a reward for each.

  Args:
    layout: of the file.
    cells: of the row; what is wrong with them is noted in it.
    source: file and number of the row.

  Returns:
    The record; made of stand-ins where a cell is wrong.
  """
  prompt = cells.read("prompt", parsing.prompt)
  completions = cells.read("completions", parsing.replies, prompt) or ()
  aspects = layout.aspects
  if aspects is None:
    rewards = cells.read("rewards", parsing.rewards) or ()
  else:
    rewards = cells.read("rewards", parsing.each, aspects.read) or ()
  logged = ids = logps = None
  if "behaviour_logps" in layout.used:
    logged = cells.read("behaviour_logps", parsing.numbers) or ()
  if IDS in layout.used:
    ids = cells.read(IDS, parsing.each, logged_tokens.ids) or ()
    if LOGPROBS in layout.used:
      logps = cells.read(LOGPROBS, parsing.each, logged_tokens.logprobs) or ()
  for name, found in (
    ("rewards", rewards),
    ("behaviour_logps", logged),
    (IDS, ids),
    (LOGPROBS, logps),
  ):
    if found is None or cells.faults or len(found) == len(completions):
      continue
    cells.faults[name] = (
      f"{len(found)} {name} for {len(completions)} completions"
    )
  if ids is not None and not cells.faults:
    completions, logged = _group_tokens(cells, completions, ids, logps, logged)
  known = None if cells.faults else _group_marks(layout, cells, completions)
  return Record(
    prompt,
    completions,
    rewards if aspects is None else None,
    None,
    False,
    source,
    logged,
    aspects=None if aspects is None else rewards,
    marks=known,
  )


def ultrafeedback(layout: Layout, cells: Cells, source: str) -> Record:
  """A row of UltraFeedback, whose completions have several ratings.

  Args:
    layout: of the file.
    cells: of the row; what is wrong with them is noted in it.
    source: file and number of the row.

  Returns:
    The record; made of stand-ins where a cell is wrong.
  """
  prompt = cells.read("instruction", parsing.text)
  read = cells.read("completions", parsing.scored_replies, layout.aspects)
  texts, rewards = read or ((), ())
  if layout.aspects is None:
    return Record(prompt, texts, rewards, None, False, source)
  return Record(prompt, texts, None, None, False, source, aspects=rewards)


def _group_marks(
  layout: Layout, cells: Cells, texts: tuple[str, ...]
) -> tuple[Marks, ...] | None:
  """What is known of the parts of each completion of a group."""
  there = [column for column in marks.SINGLE if column in layout.used]
  for column in there:
    items = cells.row.get(column)
    if column == marks.SPANS and parsing.is_empty(items):
      continue
    if not isinstance(items, list) or len(items) != len(texts):
      cells.faults[column] = (
        f"{len(items)} lists for {len(texts)} completions"
        if isinstance(items, list)
        else f"{describe(items)} where a list of lists belongs"
      )
  if not there or cells.faults:
    return None
  made = []
  for k, text in enumerate(texts):
    one = {c: cells.row.get(c) for c in there}
    own = Cells({c: v[k] if v else None for c, v in one.items()})
    made.append(layout.marks(own, text, marks.SINGLE) or Marks())
    for column, what in own.faults.items():
      cells.faults.setdefault(column, f"item {k}: {what}")
  return tuple(made)


def _group_tokens(
  cells: Cells, texts: Any, ids: Any, logps: Any, logged: Any
) -> tuple[Any, Any]:
  """Completions with their tokens, and the sums of their log-probs."""
  made, sums = [], []
  for k, text in enumerate(texts):
    joined = cells.noting(
      LOGPROBS,
      text,
      lambda k=k, text=text: logged_tokens.joined(
        text, ids[k], None if logps is None else logps[k]
      ),
      f"item {k}: ",
    )
    made.append(joined)
    sums.append(
      logged_sum(cells, joined, None if logged is None else logged[k])
    )
  return tuple(made), None if None in sums else tuple(sums)
