"""Which samples the report shows: by the place of the opening alone."""

from typing import NamedTuple

from benchmarks.sentiment.folder import Completion
from benchmarks.sentiment.results import Results

SHOWN = 8


class Shown(NamedTuple):
  """An opening, completed before and after.

  Attributes:
    opening: the opening.
    before: the base model's first draw.
    after: the label of each cell, and what its first run wrote.
  """

  opening: str
  before: Completion
  after: list[tuple[str, Completion]]


def choose(found: Results, count: int = SHOWN) -> list[Shown]:
  """Openings that lie evenly among the test openings, with the completions.

  Args:
    found: the results.
    count: of the openings.
  """
  base = found.bases[0]
  many = min(count, len(base))
  places = [(2 * k + 1) * len(base) // (2 * many) for k in range(many)]
  return [
    Shown(
      base[i].prompt,
      base[i],
      [(each.cell.label, each.written[0][i]) for each in found.outcomes],
    )
    for i in places
  ]


def line(each: Completion) -> str:
  """A completion in one line, after its opening; "…" where it was cut."""
  text = " ".join(each.completion.split())
  return text if each.finished else f"{text}…"
