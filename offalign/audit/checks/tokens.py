"""Lengths in tokens, what the limits cut, and where tokens merge."""

import numpy as np

from offalign.audit.checks.lost_text import LostText
from offalign.audit.checks.token_entries import TokenEntries, Turn
from offalign.audit.findings import Finding, Places, percent
from offalign.audit.scan.collector import completions, value_of
from offalign.audit.statistics.streaming import Sample
from offalign.data.reading.records import Prompt, Record, count
from offalign.data.text.boundary import Boundaries
from offalign.data.text.layout import LIMIT, Encoded, Unencodable
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import Sentence, UserError, option

_HELD = 256  # completions that are tokenised at a time

PARTS = ("prompt", "completion")
LENGTHS = np.dtype([(part, "u4") for part in PARTS])


class Tokens:
  """Tokenises completions as a run does, and counts lengths and cuts.

  Attributes:
    completions: how many were tokenised.
    cut_prompts: completions whose prompt is longer than `max_prompt`.
    cut_completions: completions that are longer than `max_completion`.
    boundaries: counts of tokens merged between prompt and completion.
    lengths: a sample of `LENGTHS`.
    longest: the longest prompt and the longest completion, in tokens.
    limits: the most tokens of prompts and completions; None = no limit.
  """

  def __init__(
    self,
    tokenizer: Tokenizer,
    max_prompt: int | None,
    max_completion: int | None,
    entries: TokenEntries | None = None,
  ):
    """Takes limits in tokens, None = no limit; fills `entries`, if given."""
    self.completions = self.cut_prompts = self.cut_completions = 0
    self.boundaries = Boundaries()
    self.lengths = Sample(LENGTHS, seed=1)
    self.longest = [0, 0]
    self._over = [0, 0]  # than a run keeps by default
    self.limits = (max_prompt, max_completion)
    self._tokenizer = tokenizer
    self._entries = entries
    self._lost = LostText(max_prompt)
    self._held: list[Turn] = []
    self._merged = Places()
    self._refused = Places()
    self._broken: Sentence | None = None
    self._plain = self._talks = 0

  def see(self, record: Record, where: str, at: int) -> None:
    """Adds the completions of a record; see `Check`."""
    for k, (text, named) in enumerate(completions(record, where)):
      self._add(Turn(record.prompt, text, named, at, k, value_of(record, k)))

  def add(self, prompt: Prompt, text: str, where: str) -> None:
    """Adds a completion."""
    self._add(Turn(prompt, text, where))

  def _add(self, turn: Turn) -> None:
    self._plain += isinstance(turn.prompt, str)
    self._talks += not isinstance(turn.prompt, str)
    self._held.append(turn)
    if len(self._held) >= _HELD:
      self.flush()

  def flush(self) -> None:
    """Tokenises the completions added since the last call."""
    turns, self._held = self._held, []
    while turns and self._broken is None:
      try:
        seen = Boundaries()
        found = self._encode(turns, seen)
      except Unencodable as error:
        turns = self._without(error, turns)
      except UserError as error:
        self._broken = Sentence(error.marked)
      else:
        self._count(found, turns)
        self._add_boundaries(seen, turns)
        return

  def _encode(self, turns: list[Turn], found: Boundaries) -> Encoded:
    """Tokenises turns, a prompt for each."""
    return self._tokenizer.encode_rows(
      [turn.prompt for turn in turns],
      [(i, turn.text) for i, turn in enumerate(turns)],
      boundaries=found,
    )

  def _without(self, error: Unencodable, turns: list[Turn]) -> list[Turn]:
    """Leaves out the turn that cannot be tokenised."""
    # In one call prompts and sequences have the same numbers.
    self._refused.add(f"{turns[error.index].where}: {error}")
    return [turn for i, turn in enumerate(turns) if i != error.index]

  def _count(self, found: Encoded, turns: list[Turn]) -> None:
    block = np.zeros(len(turns), LENGTHS)
    block["prompt"] = [len(ids) for ids in found.prompts]
    block["completion"] = [len(ids) for ids in found.completions]
    self.completions += len(turns)
    self._lost.add(found, turns)
    if self._entries is not None:
      for turn, x, y in zip(
        turns, found.prompts, found.completions, strict=True
      ):
        self._entries.add(turn, x, y)
    self.lengths.add(block)
    for i, (name, limit) in enumerate(zip(PARTS, self.limits, strict=True)):
      lengths = block[name].astype(np.int64)
      self.longest[i] = max(self.longest[i], int(lengths.max()))
      self._over[i] += int((lengths > LIMIT).sum())
      if limit is not None:
        over = int((lengths > limit).sum())
        self.cut_prompts += over if i == 0 else 0
        self.cut_completions += over if i == 1 else 0

  def _add_boundaries(self, seen: Boundaries, turns: list[Turn]) -> None:
    """Adds counts, and finds which turns merge until enough are named."""
    self.boundaries.checked += seen.checked
    self.boundaries.across += seen.across
    self.boundaries.template += seen.template
    merged = seen.across + seen.template
    if not merged:
      return
    merged += self._merged.count
    for turn in turns:
      if self._merged.is_full:
        break
      alone = Boundaries()
      self._encode([turn], alone)
      if alone.across + alone.template:
        self._merged.add(turn.where)
    self._merged.count = merged

  def findings(self) -> list[Finding]:
    """Returns findings about the template, cuts and merged tokens."""
    if self._broken is not None:
      return [Finding("error", "tokenizer", self._broken, "", self._talks)]
    found = self._refused.finding(
      "error",
      "template",
      "completion",
      "that the tokenizer cannot encode",
      "change the rows, or take a tokenizer whose chat template has room for "
      "them",
    )
    if self._plain and self._tokenizer.probe:
      found.append(
        Finding(
          "note",
          "template_unused",
          f"the tokenizer has a chat template, and {count(self._plain, 'row')} "
          "are plain text, which is used as it is",
          "give prompts as lists of messages if the model expects its template",
          self._plain,
        )
      )
    return [*found, *self._lost.findings(), *self._cut(), *self._merges()]

  def _cut(self) -> list[Finding]:
    found = []
    for i, (cut, kept) in enumerate(
      ((self.cut_prompts, "end"), (self.cut_completions, "beginning"))
    ):
      limit, noun = self.limits[i], PARTS[i]
      if limit is None and self._over[i]:
        found.append(
          Finding(
            "note",
            f"default_cuts_{noun}s",
            f"{self._over[i]:,} of {self.completions:,} {noun}s are longer "
            f"than {LIMIT} tokens, and a run that is given no limit keeps the "
            f"{kept} alone",
            f"give --cfg.data.max_{noun} to a run; all fit {self.longest[i]:,}",
            self._over[i],
          )
        )
      if limit is None or not cut:
        continue
      found.append(
        Finding(
          "warning",
          f"cut_{noun}s",
          Sentence(
            f"{cut:,} of {self.completions:,} {noun}s "
            f"({percent(cut, self.completions)}) are longer than "
            f"{option(f'max_{noun}', limit)} tokens and lose all but their "
            f"{kept}"
          ),
          f"99% fit {self.quantile(i, 0.99):,} tokens and all fit "
          f"{self.longest[i]:,}; raise the limit or drop the longest rows",
          cut,
        )
      )
    return found

  def _merges(self) -> list[Finding]:
    bounds = self.boundaries
    return self._merged.finding(
      "note",
      "merges",
      "completion",
      f"of {bounds.checked:,} whose tokens do not begin with those of the "
      f"prompt ({bounds.across:,} with a token across the boundary, "
      f"{bounds.template:,} by the chat template)",
      "a run puts the completion's own tokens after the prompt; end prompts "
      "without a space, or begin completions with it, as the tokenizer does",
    )

  def quantile(self, i: int, q: float) -> int:
    """Returns a quantile of the lengths of prompts (0) or completions (1)."""
    rows = self.lengths.rows[PARTS[i]]
    return int(np.quantile(rows, q, method="inverted_cdf")) if len(rows) else 0
