"""How the rows of a file are read, and what forms of rows have in common."""

import dataclasses
from typing import Any

from offalign.data.reading import logged_tokens, mark_cells, marks, parsing
from offalign.data.reading.aspects import Aspects
from offalign.data.reading.cells import Cells
from offalign.data.reading.forms import CHOSEN_REWARDS, Form
from offalign.data.reading.marks import Marks
from offalign.data.reading.token_text import TokenText


@dataclasses.dataclass(frozen=True)
class Layout:
  """How the rows of a file are read.

  Attributes:
    form: of the file.
    used: the columns that are read.
    int_labels: whether the numbers 0 and 1 are taken for labels.
    aspects: how rewards of several aspects add up; None = they are numbers.
    both_rewards: the columns of a pair's two rewards; None = there are none.
  """

  form: Form
  used: tuple[str, ...]
  int_labels: bool
  aspects: Aspects | None
  both_rewards: tuple[str, str] | None

  @classmethod
  def of(
    cls,
    form: Form,
    columns: tuple[str, ...],
    int_labels: bool,
    aspects: Aspects | None,
  ) -> "Layout":
    """The layout of a file with these columns."""
    used = tuple(c for c in columns if c in form.needed or c in form.optional)
    both = next((both for both in CHOSEN_REWARDS if both[0] in used), None)
    if form.name == "pairs":
      # Where both pairs of names are there, the first is read.
      unread = {c for names in CHOSEN_REWARDS for c in names}
      unread -= set(both or ())
      used = tuple(c for c in used if c not in unread)
    return cls(form, used, int_labels, aspects, both)

  def marks(
    self, cells: Cells, text: str, columns: tuple[str, ...]
  ) -> Marks | None:
    """What is known of a completion's parts; None without such columns.

    Args:
      cells: of the row.
      text: the completion.
      columns: those of spans, of weights and of rewards by token.
    """
    there = [column for column in columns if column in self.used]
    if not there:
      return None
    spans_of, weights_of, rewards_of = columns
    found: tuple[marks.Span, ...] = ()
    if spans_of in there and not parsing.is_empty(cells.row.get(spans_of)):
      parse = mark_cells.spans
      found = cells.read(spans_of, parse, text, self.int_labels) or ()
    lists = {
      column: cells.read(column, mark_cells.by_token, column, text)
      for column in there
      if column != spans_of
    }
    if found and lists:
      cells.faults[spans_of] = (
        f"spans, and numbers a token in {next(iter(lists))!r}; keep one"
      )
    return Marks(found, lists.get(weights_of), lists.get(rewards_of))

  def rewards(self, cells: Cells, columns: tuple[str, ...]) -> Any:
    """A number a column, or a tuple of aspects; None where it has none."""
    if not set(columns) <= set(self.used):
      return None
    if self.aspects is not None:
      read = [cells.read(c, self.aspects.read) for c in columns]
    else:
      read = [cells.read(c, parsing.reward, c) for c in columns]
    return None if None in read else tuple(read)

  def with_tokens(
    self, cells: Cells, text: str, ids_of: str, logprobs_of: str
  ) -> str:
    """A completion with the tokens of its columns; the text where wrong."""
    ids = cells.read(ids_of, logged_tokens.ids)
    logps = None
    if logprobs_of in self.used:
      logps = cells.read(logprobs_of, logged_tokens.logprobs)
    if ids is None or (logprobs_of in self.used and logps is None):
      return text
    return cells.noting(
      logprobs_of, text, lambda: logged_tokens.joined(text, ids, logps)
    )


def logged_sum(cells: Cells, text: str, logged: float | None) -> float | None:
  """The sum of a completion's log-probs, as logged or of its tokens."""
  summed = text.logp if isinstance(text, TokenText) else None
  if summed is None:
    return logged
  if logged is not None:
    cells.noting(
      "behaviour_logps",
      None,
      lambda: logged_tokens.check_sum(summed, logged),
    )
  return summed
