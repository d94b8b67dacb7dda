"""What methods wrote for the same prompts, side by side."""

from collections.abc import Sequence

from offalign.leaderboard.board import Entry, Group
from offalign.leaderboard.rows import Sample


def side_by_side(
  group: Group, best: int
) -> tuple[list[Entry], list[tuple[str, list[Sample | None]]]]:
  """Lays out the samples of the best methods, after those of a control.

  Args:
    group: its first control that has samples stands first.
    best: how many ranked methods there are at most, from the top.

  Returns:
    The entries, and (prompt, a sample of each entry) for every prompt of any
    of them, in the order they were written; None where an entry has none.
  """
  having = [entry for entry in group.ranked if entry.samples][:best]
  having = [e for e in group.controls if e.samples][:1] + having
  found = [{s.prompt: s for s in entry.samples} for entry in having]
  prompts = dict.fromkeys(prompt for table in found for prompt in table)
  return having, [
    (prompt, [table.get(prompt) for table in found]) for prompt in prompts
  ]


def first(runs: Sequence[Sequence[Sample]]) -> tuple[Sample, ...]:
  """The samples of the first run that has any."""
  return tuple(next(filter(None, runs), ()))
