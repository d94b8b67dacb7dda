"""Margins of pairs: by how much the chosen completion was rated better.

They are in the units of the logged scores, whatever is done to rewards. TRL's
column `margin` says them; where there are scores, they are the chosen score
less the rejected one. Nothing is made up where neither is there.
"""

import math
from collections.abc import Sequence

from offalign.data.reading.parsing import LARGEST
from offalign.data.reading.records import Record, count
from offalign.errors import UserError

_LISTED = 10
_CLOSE = 1e-4  # of the larger score; margins may be written in few digits

CURE = (
  "log a column 'margin' (the chosen score less the rejected one) or the "
  "scores themselves ('chosen_reward' and 'rejected_reward'), or take a loss "
  "or an option that needs the order alone"
)
"""What to do where a loss reads margins, and none are known."""


def of(record: Record) -> float | None:
  """The margin of a pair; None where nothing says it."""
  if record.margin is not None:
    return record.margin
  if record.rewards is None or not record.ranked:
    return None
  return record.rewards[0] - record.rewards[1]


def of_all(records: Sequence[Record]) -> list[float]:
  """The margins of pairs, for a loss that reads them.

  Raises:
    UserError: naming the pairs without one, or whose column `margin` is not
      the difference of their scores, or is too large for float32.
  """
  found = [of(record) for record in records]
  missing = [
    r.source for r, gap in zip(records, found, strict=True) if gap is None
  ]
  if missing:
    which = f"{len(missing):,} of {count(len(records), 'pair')}"
    where = _named(missing)
    if len(missing) == len(records):
      which, where = "the pairs", ""
    raise UserError(
      f"this loss reads by how much the chosen completion is better, and "
      f"{which} have neither a margin nor scores{where}: {CURE}"
    )
  differing = [
    f"{r.source}: {said}" for r in records if (said := contradiction(r))
  ]
  if differing:
    raise UserError(
      f"{count(len(differing), 'pair')} with a column 'margin' that is not the "
      f"chosen score less the rejected one{_named(differing)}: remove the "
      "margin, or the scores"
    )
  gaps = [gap for gap in found if gap is not None]
  large = [
    r.source for r, gap in zip(records, gaps, strict=True) if abs(gap) > LARGEST
  ]
  if large:
    raise UserError(
      f"{count(len(large), 'pair')} of scores so far apart that float32 does "
      f"not hold their difference{_named(large)}: scale the scores down"
    )
  return gaps


def contradiction(record: Record) -> str:
  """How a pair's margin differs from its scores; "" if it does not.

  >>> pair = Record("x", ("a", "b"), (5.0, 1.0), None, True, "f:0", margin=2.0)
  >>> contradiction(pair)
  'margin 2, scores 5 and 1'
  """
  if record.margin is None or record.rewards is None:
    return ""
  chosen, rejected = record.rewards
  gap, scale = chosen - rejected, max(abs(chosen), abs(rejected))
  if math.isclose(record.margin, gap, rel_tol=0, abs_tol=_CLOSE * scale):
    return ""
  return f"margin {record.margin:g}, scores {chosen:g} and {rejected:g}"


def typical(records: Sequence[Record]) -> Record:
  """A record that shows what is logged: the first with a margin, if any."""
  return next((r for r in records if r.margin is not None), records[0])


def _named(sources: Sequence[str]) -> str:
  more = "; ..." if len(sources) > _LISTED else ""
  return f" ({'; '.join(sources[:_LISTED])}{more})"
