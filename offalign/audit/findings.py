"""Findings of an audit: a sentence each, with places and a remedy."""

import dataclasses
from typing import Literal

from offalign.data.reading.records import count
from offalign.errors import Sentence, spoken

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
LISTED = 10
"""How many places of a finding are named; the rest are counted."""


@dataclasses.dataclass(frozen=True)
class Finding:
  """A fault or a fact of the data that a user should know.

  Attributes:
    severity: "error": a run refuses it. "warning": legal, but to be decided
      about before a run. "note": worth knowing.
    kind: a name for programs, such as "duplicate_rows".
    what: a sentence without its full stop; a `Sentence` where it names
      options.
    remedy: what to do, likewise.
    count: how many rows, completions or prompts are concerned; 0 where the
      finding is about all data.
    where: the first `LISTED` places.
    texts: what stands at the first of these places, shortened; "" where that
      is not known.
  """

  severity: Severity
  kind: str
  what: str
  remedy: str = ""
  count: int = 0
  where: tuple[str, ...] = ()
  texts: tuple[str, ...] = ()

  def spoken(self) -> "Finding":
    """The finding with options named as the reader gives them; for reports."""
    return dataclasses.replace(
      self,
      what=_spoken(self.what),
      remedy=_spoken(self.remedy),
      where=tuple(map(_spoken, self.where)),
    )

  def __str__(self) -> str:
    lines = [f"{self.severity}: {self.what}."]
    if self.remedy:
      lines[0] += f" {self.remedy[0].upper()}{self.remedy[1:]}."
    for place, text in self.places():
      lines.append(f"  {place}")
      if text:
        lines.append(f"    {text}")
    if self.where and self.count > len(self.where):
      lines.append(f"  ... and {self.count - len(self.where):,} more")
    return "\n".join(lines)

  def places(self) -> list[tuple[str, str]]:
    """Each place, and what stands there or ""."""
    texts = (*self.texts, *[""] * (len(self.where) - len(self.texts)))
    return list(zip(self.where, texts, strict=True))


class Places:
  """Counts places and remembers the first few.

  Attributes:
    count: how many were added.
    listed: the first `LISTED`.
  """

  def __init__(self) -> None:
    self.count = 0
    self.listed: list[str] = []

  def add(self, place: str) -> None:
    """Adds a place, such as "a.jsonl, row 3"."""
    self.count += 1
    if not self.is_full:
      self.listed.append(place)

  @property
  def is_full(self) -> bool:
    """Whether no further place would be listed."""
    return len(self.listed) >= LISTED

  def finding(
    self, severity: Severity, kind: str, noun: str, what: str, remedy: str
  ) -> list[Finding]:
    """Returns ["`count` `noun`s `what`"] as a finding; [] without places."""
    if not self.count:
      return []
    return [
      Finding(
        severity,
        kind,
        f"{count(self.count, noun)} {what}",
        remedy,
        self.count,
        tuple(self.listed),
      )
    ]


def _spoken(text: str) -> str:
  return spoken(text) if isinstance(text, Sentence) else text


def percent(part: float, whole: float) -> str:
  """Formats a share, as "12.3%"; "-" of nothing."""
  if not whole:
    return "-"
  share = 100 * part / whole
  return f"{share:.1f}%" if share >= 0.05 or not part else "under 0.1%"
