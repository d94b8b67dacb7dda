"""Feedback by completion: each completion once, with what is known of it."""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence

from offalign.data.reading.marks import Marks
from offalign.data.reading.records import Prompt, Record, count

NO_FEEDBACK = (
  "the data has prompts and completions alone; use data with rewards, labels, "
  "or pairs of chosen and rejected"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
  """A completion and what is known about it.

  Attributes:
    prompt: its prompt.
    completion: its text.
    reward: or None.
    label: True = desirable; or None.
    source: where it is from: "file:row", "file:row[k]" for completion k of
      a row of several; joined by commas where rows repeat it.
    behaviour_logp: under the policy that wrote it, as logged; or None.
    marks: what is known of its parts; or None.
  """

  prompt: Prompt
  completion: str
  reward: float | None
  label: bool | None
  source: str
  behaviour_logp: float | None = None
  marks: Marks | None = None

  @property
  def value(self) -> float:
    """The reward, where it is known to be there."""
    assert self.reward is not None
    return self.reward


class Notes:
  """Collects what a conversion did: counts, and sentences for people."""

  def __init__(self) -> None:
    self.counts: dict[str, int] = {}
    self.sentences: list[str] = []

  def add(self, sentence: str, **counts: int) -> None:
    """Notes a sentence and its counts."""
    self.counts.update(counts)
    self.sentences.append(sentence)


def group_by_prompt(items: Iterable[Scored]) -> list[list[Scored]]:
  """Groups by identical prompt, in order of first appearance."""
  groups: dict[Prompt, list[Scored]] = {}
  for item in items:
    groups.setdefault(item.prompt, []).append(item)
  return list(groups.values())


def lot(item: Scored, seed: int) -> tuple[bytes, float]:
  """A key to sort completions by in random order.

  It depends on the seed, the texts and the reward alone, so that the order of
  the data does not matter, and a run that goes on finds the same.
  """
  texts = repr((seed, item.prompt, item.completion)).encode()
  return hashlib.sha256(texts).digest(), item.reward or 0.0


def flatten(records: Sequence[Record], notes: Notes) -> list[Scored]:
  """Returns the completions with the feedback that was logged for them.

  Pairs give each distinct completion of a prompt once: its reward is the
  logged one, or else its share of comparisons won; its label is whether it
  won more than half of them. Pairs of the same text compare nothing.
  """
  if records and records[0].ranked:
    return _from_pairs(records, notes)
  return [
    Scored(
      record.prompt,
      text,
      None if record.rewards is None else record.rewards[k],
      None if record.labels is None else record.labels[k],
      record.source if len(record.completions) == 1 else _item(record, k),
      None if record.behaviour_logps is None else record.behaviour_logps[k],
      None if record.marks is None else record.marks[k],
    )
    for record in records
    for k, text in enumerate(record.completions)
  ]


def _item(record: Record, k: int) -> str:
  return f"{record.source}[{k}]"


@dataclasses.dataclass
class _Tally:
  """What pairs say about one completion."""

  wins: int = 0
  comparisons: int = 0
  rewards: list[float] = dataclasses.field(default_factory=list)
  sources: list[str] = dataclasses.field(default_factory=list)
  behaviour_logp: float | None = None
  marks: Marks | None = None


def _from_pairs(records: Sequence[Record], notes: Notes) -> list[Scored]:
  tallies: dict[tuple[Prompt, str], _Tally] = {}
  differing_marks = 0
  for record in records:
    decided = record.completions[0] != record.completions[1]
    for k, text in enumerate(record.completions):
      tally = tallies.setdefault((record.prompt, text), _Tally())
      tally.comparisons += decided
      tally.wins += decided and k == 0
      tally.sources.append(_item(record, k))
      if record.rewards is not None:
        tally.rewards.append(record.rewards[k])
      if record.behaviour_logps is not None and tally.behaviour_logp is None:
        tally.behaviour_logp = record.behaviour_logps[k]
      if record.marks is not None:
        differing_marks += tally.marks not in (None, record.marks[k])
        tally.marks = tally.marks or record.marks[k]
  merged = 2 * len(records) - len(tallies)
  if merged:
    notes.add(
      f"{count(2 * len(records), 'side')} of {count(len(records), 'pair')} "
      f"are {count(len(tallies), 'distinct completion')}; each counts once",
      sides_merged=merged,
    )
  if differing_marks:
    notes.add(
      f"{count(differing_marks, 'side')} logged with other spans than before: "
      "the first are used",
      spans_set_aside=differing_marks,
    )
  logged = records[0].rewards is not None
  differing = sum(len(set(tally.rewards)) > 1 for tally in tallies.values())
  if differing:
    notes.add(
      f"{count(differing, 'completion')} logged with more than one reward: "
      "their mean is used",
      rewards_averaged=differing,
    )
  return [
    Scored(
      prompt,
      text,
      mean(tally.rewards) if logged else _share(tally),
      None
      if 2 * tally.wins == tally.comparisons
      else 2 * tally.wins > tally.comparisons,
      ",".join(tally.sources),
      tally.behaviour_logp,
      tally.marks,
    )
    for (prompt, text), tally in tallies.items()
  ]


def mean(values: Sequence[float]) -> float:
  """The mean, exact where all values are the same."""
  # Rounding must not put equal values above their own mean.
  result = math.fsum(values) / len(values)
  return min(max(result, min(values)), max(values))


def _share(tally: _Tally) -> float | None:
  return tally.wins / tally.comparisons if tally.comparisons else None
