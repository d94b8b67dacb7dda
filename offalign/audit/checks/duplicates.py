"""Duplicates: repeated rows, texts and prompts, and contradictory feedback."""

import heapq
from collections.abc import Callable

import numpy as np

from offalign.audit.findings import LISTED, Finding, Severity
from offalign.audit.scan.entries import Spill, runs
from offalign.data.reading.records import count

Name = Callable[[int], str]
"""Where an entry's `row` is, in words."""


class Firsts:
  """Counts rows, and remembers the first of the data."""

  def __init__(self) -> None:
    self.count = 0
    self._heap: list[tuple[int, int]] = []  # negated: the last on top

  def add(self, rows: np.ndarray, others: np.ndarray) -> None:
    """Adds rows, each with the row that it repeats or contradicts; [N], [N]."""
    self.count += len(rows)
    for i in np.argsort(rows, kind="stable")[:LISTED]:
      heapq.heappush(self._heap, (-int(rows[i]), -int(others[i])))
    while len(self._heap) > LISTED:
      heapq.heappop(self._heap)

  def finding(
    self,
    severity: Severity,
    kind: str,
    what: str,
    verb: str,
    remedy: str,
    names: tuple[Name, Name],
  ) -> list[Finding]:
    """Returns [the finding]; [] where no row was added.

    Args:
      severity: see `Finding`.
      kind: see `Finding`.
      what: "row(s) that ...": the noun, "|", and the rest.
      verb: between a row and the other: "repeats".
      remedy: see `Finding`.
      names: say where a row is, and where the other.
    """
    if not self.count:
      return []
    noun, _, rest = what.partition("|")
    pairs = sorted((-row, -other) for row, other in self._heap)
    where = [_joined(names[0](a), verb, names[1](b)) for a, b in pairs]
    sentence = f"{count(self.count, noun)} {rest}"
    return [Finding(severity, kind, sentence, remedy, self.count, tuple(where))]


class Repeats:
  """Repeated rows, texts and prompts, and contradictions among them.

  Attributes:
    rows: exact repeats of an earlier row.
    texts: completions that their prompt has from several rows.
    conflicts: repeated completions whose rows give different feedback.
    contradictions: pairs that another row has the other way round.
    near: prompts that differ from another by case or white space alone.
  """

  def __init__(self, entries: Spill, paired: bool):
    """Compares the entries; `paired`: whether they come from pairs."""
    self.rows, self.conflicts = Firsts(), Firsts()
    self.contradictions, self.near = Firsts(), Firsts()
    self.texts = 0
    for part in entries.parts():
      self._add(part, paired)

  def _add(self, part: np.ndarray, paired: bool) -> None:
    """Adds a part: `ENTRY` rows of whole prompts."""
    first = part[part["side"] == 0]
    self._add_rows(first)
    self._add_near(first)
    if paired:
      self._add_pairs(part)
    else:
      self._add_texts(part)

  def _add_rows(self, part: np.ndarray) -> None:
    part = part[np.lexsort((part["row"], part["record"]))]
    self.rows.add(*_again(part, part["record"]))

  def _add_near(self, part: np.ndarray) -> None:
    order = np.lexsort((part["row"], part["prompt"], part["loose"]))
    part = part[order]
    part = part[runs(part["loose"], part["prompt"])[0]]
    part = part[np.lexsort((part["row"], part["loose"]))]
    self.near.add(*_again(part, part["loose"]))

  def _add_texts(self, part: np.ndarray) -> None:
    part = part[np.lexsort((part["row"], part["text"], part["prompt"]))]
    starts, sizes = runs(part["prompt"], part["text"])
    self.texts += int((sizes > 1).sum())
    low = np.minimum.reduceat(part["value"], starts)
    high = np.maximum.reduceat(part["value"], starts)
    starts, sizes = starts[low < high], sizes[low < high]
    rows = part["row"]
    self.conflicts.add(rows[starts + sizes - 1], rows[starts])

  def _add_pairs(self, part: np.ndarray) -> None:
    part = part[np.lexsort((part["side"], part["row"]))]
    chosen, rejected = part[part["side"] == 0], part[part["side"] == 1]
    apart = chosen["text"] != rejected["text"]
    chosen, rejected = chosen[apart], rejected[apart]
    a, b = chosen["text"], rejected["text"]
    low, high, side = np.minimum(a, b), np.maximum(a, b), a > b
    order = np.lexsort((chosen["row"], side, high, low, chosen["prompt"]))
    rows, side = chosen["row"][order], side[order]
    keys = (chosen["prompt"][order], low[order], high[order])
    starts, sizes = runs(*keys)
    ends = starts + sizes - 1
    against = side[starts] != side[ends]
    one, other = rows[starts[against]], rows[ends[against]]
    self.contradictions.add(np.maximum(one, other), np.minimum(one, other))

  def findings(self, name: Name) -> list[Finding]:
    """Returns a finding for each kind that occurs."""
    names = (name, name)
    return [
      *self.rows.finding(
        "warning",
        "duplicate_rows",
        "row|exactly repeating an earlier one",
        "repeats",
        "remove them, or mean to give those rows more weight",
        names,
      ),
      *self.conflicts.finding(
        "warning",
        "conflicts",
        "completion|met in several rows of a prompt, with different feedback",
        "disagrees with",
        "average the feedback, or accept it as noise",
        names,
      ),
      *self.contradictions.finding(
        "warning",
        "contradictions",
        "comparison|made both ways: what one pair prefers another rejects",
        "is the reverse of",
        "keep the majority, or take a loss that allows for noisy labels",
        names,
      ),
      *self.near.finding(
        "note",
        "near_prompts",
        "prompt|differing from another by case or white space alone",
        "is like",
        "make them one, or their completions are never compared",
        names,
      ),
    ]


def _joined(one: str, verb: str, other: str) -> str:
  """ "a.jsonl, row 4 repeats row 0": a file is named once."""
  file, _, row = other.rpartition(", ")
  same = one.rpartition(", ")[0] == file
  return f"{one} {verb} {row if same else other}"


def _again(part: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Finds rows whose key an earlier row has, and those earlier rows.

  Args:
    part: [N] entries, sorted by the key and then by row.
    key: [N].
  """
  starts, sizes = runs(key)
  again = np.ones(len(part), bool)
  again[starts] = False
  return part["row"][again], np.repeat(part["row"][starts], sizes)[again]
