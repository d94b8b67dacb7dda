"""Collector of records: counts them, and keeps an entry a completion."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from offalign.audit.scan.entries import (
  Entry,
  Spill,
  digest,
  flat,
  loose,
  place,
)
from offalign.data.reading.records import Record


class Check(Protocol):
  """Looks for something in every record."""

  def see(self, record: Record, where: str, at: int) -> None:
    """Looks at a record; `where` is its file and row, and `at` `place`'s."""


class Collector:
  """Takes each record once and counts what it holds.

  Attributes:
    names: the files' names, for messages.
    rows: how many records were taken.
    conversations: how many records have a conversation as prompt.
    completions: how many completions all records have.
    longer: pairs whose chosen side has more words than the rejected.
    as_long: pairs whose two sides have equally many words.
    margins: pairs with a margin.
    ranked: whether the data are pairs.
    rewards, labels, logged: whether there are rewards, labels, and log-probs
      of the policy that wrote the completions.
    logged_tokens: whether there are token ids with such log-probs of each.
    token_weights, token_rewards: whether parts of completions have weights,
      and ratings.
    rated_spans: spans, or steps, with a rating of their own.
  """

  def __init__(
    self,
    names: list[str],
    entries: Spill,
    checks: Sequence[Check] = (),
  ):
    """Every record is shown to `checks` too."""
    self.names = names
    self.rows = self.conversations = self.completions = 0
    self.longer = self.as_long = self.margins = 0
    self.ranked = self.rewards = self.labels = False
    self.logged = self.logged_tokens = False
    self.token_weights = self.token_rewards = False
    self.rated_spans = 0
    self._entries = entries
    self._checks = checks
    self._last: tuple[object, int, int, int] | None = None

  def see(self, record: Record, file: int, row: int) -> None:
    """Takes a record; `files.scan` calls this."""
    if not self.rows:
      self.ranked = record.ranked
      self.rewards = record.rewards is not None
      self.labels = record.labels is not None
      self.logged = record.behaviour_logps is not None
      self.logged_tokens = record.logprobs is not None
    for mark in record.marks or ():
      self.token_weights |= mark.has_weights
      self.token_rewards |= mark.has_ratings
      self.rated_spans += sum(span.rated for span in mark.spans)
    self.rows += 1
    self.margins += record.margin is not None
    self.conversations += not isinstance(record.prompt, str)
    self.completions += len(record.completions)
    for check in self._checks:
      check.see(record, f"{self.names[file]}, row {row}", place(file, row))
    prompt, near, length = self._prompt(record)
    where = place(file, row)
    texts = [digest(text) for text in record.completions]
    words = [len(text.split()) for text in record.completions]
    whole = digest(f"{prompt} {texts} {record.rewards} {record.labels}")
    if record.ranked:
      self.longer += words[0] > words[1]
      self.as_long += words[0] == words[1]
    for k, text in enumerate(texts):
      value = value_of(record, k)
      label = -1 if record.labels is None else int(record.labels[k])
      self._entries.add(
        Entry(
          prompt, near, text, whole, where, value, words[k], length, k, label
        )
      )

  def _prompt(self, record: Record) -> tuple[int, int, int]:
    """Hash, hash but for case and white space, words; kept from row to row."""
    if self._last is None or self._last[0] != record.prompt:
      prompt = record.prompt
      text = flat(prompt)
      said = (
        prompt
        if isinstance(prompt, str)
        else " ".join(message.content for message in prompt)
      )
      self._last = (
        prompt,
        digest(text),
        digest(loose(text)),
        len(said.split()),
      )
    return self._last[1:]


def value_of(record: Record, k: int) -> float:
  """The reward of a completion, or its label as 0 or 1; NaN = neither."""
  if record.rewards is not None:
    return record.rewards[k]
  return float("nan") if record.labels is None else float(record.labels[k])


def completions(record: Record, where: str) -> Iterator[tuple[str, str]]:
  """Yields each completion of a record, and where it is.

  Args:
    record: with one completion or more.
    where: file and row of the record; of several completions, the place says
      which.
  """
  several = len(record.completions) > 1
  for k, text in enumerate(record.completions):
    side = ("chosen", "rejected")[k] if record.ranked else f"item {k}"
    yield text, f"{where}, {side}" if several else where
