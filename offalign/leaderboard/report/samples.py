"""Samples of the best methods side by side, for the HTML report."""

from collections.abc import Sequence

from offalign import pages
from offalign.leaderboard.board import Entry, Group
from offalign.leaderboard.rows import Sample
from offalign.pages import Cell, Column, Content, Table

_BEST = 3  # methods whose samples are shown
_SHORT = 48  # characters of a completion that fits into a table
_NOTHING = "(nothing)"
Card = tuple[str, str, str]
"""(label, completion, reward)."""


def side_by_side(
  group: Group,
) -> tuple[Table | None, list[tuple[str, list[Card]]]]:
  """Lays out samples: short ones as a table, long ones as cards by prompt.

  Returns:
    The table, or None; and (prompt, its cards) for each prompt. Both are
    empty where no method has samples.
  """
  entries, prompts = _best(group)
  lengths = [len(s.completion) for _, found in prompts for s in found if s]
  if not lengths:
    return None, []
  if max(lengths) <= _SHORT:
    return _table(entries, prompts), []
  return None, [
    (
      prompt,
      [
        (entry.label, sample.completion or _NOTHING, f"{sample.reward:+.2f}")
        for entry, sample in zip(entries, found, strict=True)
        if sample
      ],
    )
    for prompt, found in prompts
  ]


def _best(
  group: Group,
) -> tuple[list[Entry], list[tuple[str, list[Sample | None]]]]:
  """Finds the samples of the best methods, after those of a control.

  Returns:
    The entries, and (prompt, a sample of each entry) for every prompt of any
    of them, in the order they were written; None where an entry has none.
  """
  having = [entry for entry in group.ranked if entry.samples][:_BEST]
  having = [e for e in group.controls if e.samples][:1] + having
  found = [{s.prompt: s for s in entry.samples} for entry in having]
  prompts = dict.fromkeys(prompt for table in found for prompt in table)
  return having, [
    (prompt, [table.get(prompt) for table in found]) for prompt in prompts
  ]


def _table(
  entries: Sequence[Entry],
  prompts: Sequence[tuple[str, Sequence[Sample | None]]],
) -> Table:
  code = pages.template("leaderboard/report/page.html").code
  heads = [Column("prompt", header=True)]
  heads += [Column(entry.label) for entry in entries]
  rows: list[list[Cell | Content]] = [
    [
      code(prompt),
      *(
        Cell(code(s.completion or _NOTHING), f"{s.reward:+.2f}") if s else ""
        for s in found
      ),
    ]
    for prompt, found in prompts
  ]
  return Table(heads, rows, label="Samples", sortable=False)
