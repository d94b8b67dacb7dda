"""Collects every record of the data: counts, entries, texts and tokens."""

from offalign.audit import spill
from offalign.audit.odd_texts import OddTexts
from offalign.audit.spill import Entry, Spill
from offalign.audit.tokens import Tokens
from offalign.data.reading.records import Record


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
  """

  def __init__(
    self,
    names: list[str],
    entries: Spill,
    texts: OddTexts | None = None,
    tokens: Tokens | None = None,
  ):
    """Without `texts` or `tokens`, nothing is collected about them."""
    self.names = names
    self.rows = self.conversations = self.completions = 0
    self.longer = self.as_long = self.margins = 0
    self.ranked = self.rewards = self.labels = self.logged = False
    self._entries = entries
    self._texts = texts
    self._tokens = tokens
    self._last: tuple[object, int, int, int] | None = None

  def see(self, record: Record, file: int, row: int) -> None:
    """Takes a record; `scan.scan` calls this."""
    if not self.rows:
      self.ranked = record.ranked
      self.rewards = record.rewards is not None
      self.labels = record.labels is not None
      self.logged = record.behaviour_logps is not None
    self.rows += 1
    self.margins += record.margin is not None
    self.conversations += not isinstance(record.prompt, str)
    self.completions += len(record.completions)
    self._look(record, file, row)
    prompt, loose, length = self._prompt(record)
    where = spill.place(file, row)
    texts = [spill.digest(text) for text in record.completions]
    words = [len(text.split()) for text in record.completions]
    whole = spill.digest(f"{prompt} {texts} {record.rewards} {record.labels}")
    if record.ranked:
      self.longer += words[0] > words[1]
      self.as_long += words[0] == words[1]
    for k, text in enumerate(texts):
      value = float("nan")
      if record.rewards is not None:
        value = record.rewards[k]
      elif record.labels is not None:
        value = float(record.labels[k])
      label = -1 if record.labels is None else int(record.labels[k])
      self._entries.add(
        Entry(
          prompt, loose, text, whole, where, value, words[k], length, k, label
        )
      )

  def _prompt(self, record: Record) -> tuple[int, int, int]:
    """Hash, hash but for case and white space, words; kept from row to row."""
    if self._last is None or self._last[0] != record.prompt:
      prompt = record.prompt
      text = spill.flat(prompt)
      said = (
        prompt
        if isinstance(prompt, str)
        else " ".join(message.content for message in prompt)
      )
      self._last = (
        prompt,
        spill.digest(text),
        spill.digest(spill.loose(text)),
        len(said.split()),
      )
    return self._last[1:]

  def _look(self, record: Record, file: int, row: int) -> None:
    """Passes the texts on to `Texts` and `Tokens`."""
    where = f"{self.names[file]}, row {row}"
    several = len(record.completions) > 1
    if self._texts is not None:
      self._texts.prompt(record.prompt, where)
      if record.ranked:
        self._texts.pair(record, where)
    for k, text in enumerate(record.completions):
      at = where
      if several:
        side = ("chosen", "rejected")[k] if record.ranked else f"item {k}"
        at = f"{where}, {side}"
      if self._texts is not None:
        self._texts.completion(text, at)
      if self._tokens is not None:
        self._tokens.add(record.prompt, text, at)
