"""Lost text: what a template, a tokenizer or a limit drops of rows."""

from collections.abc import Sequence

import numpy as np

from offalign.audit.checks.token_entries import Turn
from offalign.audit.findings import Finding, Places
from offalign.data.reading.records import Prompt
from offalign.data.text.layout import Encoded
from offalign.data.text.round_trip import SAID, Lost, lost_opening
from offalign.errors import Sentence, option

_RAISE = "raise the limit, or drop the longest rows"
_REMEDIES = {
  Lost.SPACE: "strip it from the data if nothing hangs on it",
  Lost.OPENING_SYSTEM: _RAISE,
  Lost.OPENING: _RAISE,
}
_REMEDY = "take a template that writes it, or drop it from the data"


class LostText:
  """Counts rows of which something is not among the tokens."""

  def __init__(self, max_prompt: int | None):
    """`max_prompt` in tokens, None = no limit."""
    self._limit = max_prompt
    self._places = {flag: Places() for flag in SAID}
    self._last = dict.fromkeys(SAID, -1)
    self._vanished = Places()
    self._rows, self._row = 0, -1

  def add(self, found: Encoded, turns: Sequence[Turn]) -> None:
    """Adds completions that were tokenised without a limit, by row."""
    for v in found.vanished:
      self._vanished.add(turns[v].where)
    flags = found.lost_prompts | found.lost_completions
    for i, turn in enumerate(turns):
      self._rows += turn.at != self._row
      self._row = turn.at
      flags[i] |= self._cut(turn.prompt, len(found.prompts[i]))
    for i in np.flatnonzero(flags).tolist():
      for flag, places in self._places.items():
        if flags[i] & flag and self._last[flag] != turns[i].at:
          self._last[flag] = turns[i].at
          places.add(turns[i].where)

  def _cut(self, prompt: Prompt, length: int) -> int:
    """`Lost` flags of a prompt that the limit cuts."""
    if self._limit is None or length <= self._limit or isinstance(prompt, str):
      return 0
    return lost_opening(prompt)

  def findings(self) -> list[Finding]:
    """Returns a finding for each kind that occurs."""
    found = self._vanished.finding(
      "error",
      "vanished",
      "completion",
      "of whose text no token is left",
      Sentence(
        "remove these rows, or drop them in a run with "
        f"{option('data.vanished', 'drop')}"
      ),
    )
    for flag, what in SAID.items():
      places = self._places[flag]
      if not places.count:
        continue
      what = what.format(limit=option("max_prompt", self._limit))
      found.append(
        Finding(
          "note" if flag is Lost.SPACE else "warning",
          f"lost_{str(flag.name).lower()}",
          Sentence(f"{places.count:,} of {self._rows:,} rows {what}"),
          _REMEDIES.get(flag, _REMEDY),
          places.count,
          tuple(places.listed),
        )
      )
    return found
