"""Odd texts: empty, huge or wrongly decoded ones, stray special tokens."""

import re

from offalign.audit.findings import Finding, Places, Severity
from offalign.audit.scan.collector import completions
from offalign.data.reading.records import Prompt, Record
from offalign.data.reading.table import HUGE
from offalign.data.views import margins

# Spellings of the special tokens and turn markers of common model families.
_TOKENS = re.compile(
  r"</?s>|<\|[^|<>\s]{1,40}\|>|\[/?INST\]|<</?SYS>>|<(?:pad|eos|bos|unk)>"
  r"|<(?:start|end)_of_turn>|<｜[^｜<>]{1,40}｜>"
)
_TURNS = re.compile(
  r"^(?:Human|User|Assistant|###\s*(?:Instruction|Response|Human|Assistant))"
  r"\s*:",
  re.MULTILINE,
)
# Nothing that a keyboard writes; some turn around the text beside them.
_CONTROL = re.compile(
  "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]"
)

# kind -> (severity, noun, what, remedy)
_KINDS: dict[str, tuple[Severity, str, str, str]] = {
  "empty_prompts": (
    "warning",
    "prompt",
    "of no text or of white space alone",
    "remove these rows, or mean to train without a prompt",
  ),
  "empty_completions": (
    "warning",
    "completion",
    "of no text or of white space alone",
    "remove these rows, or mean to teach (or to punish) silence",
  ),
  "huge_completions": (
    "warning",
    "completion",
    f"of over {HUGE:,} characters",
    "look at them; a limit of tokens cuts them, and only their beginning "
    "trains",
  ),
  "equal_pairs": (
    "warning",
    "pair",
    "whose chosen and rejected are the same text",
    "remove them: they compare nothing, and a run drops them",
  ),
  "reversed_pairs": (
    "warning",
    "pair",
    "whose chosen reward is below the rejected one",
    "swap them, or drop the rewards: a run keeps the order as it is",
  ),
  "contrary_margins": (
    "warning",
    "pair",
    "whose margin is not the chosen score less the rejected one",
    "remove the margin or the scores: losses that read margins refuse such "
    "pairs",
  ),
  "negative_margins": (
    "warning",
    "pair",
    "with a margin below 0",
    "swap them, or mean to ask for less: a run keeps the order as it is",
  ),
  "missing_margins": (
    "warning",
    "pair",
    "without a margin or scores, where others have a margin",
    "give them one, or remove them: losses that read margins refuse such pairs",
  ),
  "tied_pairs": (
    "note",
    "pair",
    "whose two rewards are equal",
    "drop them, or drop the rewards: a run takes the first for the better one",
  ),
  "replacement_characters": (
    "note",
    "text",
    "with U+FFFD, which a wrong decoding leaves",
    "decode the source again if you can",
  ),
  "control_characters": (
    "note",
    "text",
    "with NUL, ESC or another control character",
    "they are tokens of their own; remove them unless they are meant",
  ),
  "spelled_tokens": (
    "note",
    "text",
    "spelling a special token or a marker of turns, such as </s>",
    "they are tokenised as ordinary text and end nothing; strip them if they "
    "are left over from a template",
  ),
  "turn_markers": (
    "note",
    "completion",
    "with a line beginning like another turn (Human:, User:, ...)",
    "cut them there if the model ran on into the user's turn",
  ),
  "carriage_returns": (
    "note",
    "completion",
    "with carriage returns",
    "they are tokens of their own; remove them unless they are meant",
  ),
  "edges": (
    "note",
    "completion",
    "beginning or ending with white space",
    "strip them if what is sampled will be stripped",
  ),
}


class OddTexts:
  """Counts texts that are legal but worth a look."""

  def __init__(self) -> None:
    self._places = {kind: Places() for kind in _KINDS}
    self._has_margins = False
    self._pairs = 0

  def see(self, record: Record, where: str, at: int) -> None:
    """Checks a record; see `Check`."""
    del at
    self.prompt(record.prompt, where)
    if record.ranked:
      self.pair(record, where)
    for text, place in completions(record, where):
      self.completion(text, place)

  def prompt(self, prompt: Prompt, where: str) -> None:
    """Checks a prompt, once a row."""
    if isinstance(prompt, str):
      if not prompt:
        self._places["empty_prompts"].add(f"{where}: empty")
      elif prompt.isspace():
        self._places["empty_prompts"].add(f"{where}: white space alone")
      self._anywhere(prompt, f"{where}, prompt")
      return
    for message in prompt:
      if message.content.isspace():
        self._places["empty_prompts"].add(
          f"{where}: a message of white space alone"
        )
      self._anywhere(message.content, f"{where}, prompt")

  def completion(self, text: str, where: str) -> None:
    """Checks a completion; `where` says which of its row."""
    if not text:
      self._places["empty_completions"].add(f"{where}: empty")
      return
    first, last = text[0].isspace(), text[-1].isspace()
    if first and last and text.isspace():
      self._places["empty_completions"].add(f"{where}: white space alone")
      return
    if len(text) > HUGE:
      self._places["huge_completions"].add(f"{where}: {len(text):,} characters")
    if first or last:
      self._places["edges"].add(where)
    if "\r" in text:
      self._places["carriage_returns"].add(where)
    if ":" in text and (found := _TURNS.search(text)):
      self._places["turn_markers"].add(f"{where}: {found[0]!r}")
    self._anywhere(text, where)

  def _anywhere(self, text: str, where: str) -> None:
    if "\ufffd" in text:
      self._places["replacement_characters"].add(where)
    if found := _CONTROL.search(text):
      self._places["control_characters"].add(f"{where}: {found[0]!r}")
    if ("<" in text or "[" in text) and (found := _TOKENS.search(text)):
      self._places["spelled_tokens"].add(f"{where}: {found[0]!r}")

  def pair(self, record: Record, where: str) -> None:
    """Checks the two sides of a pair together."""
    chosen, rejected = record.completions
    self._pairs += 1
    if chosen == rejected:
      self._places["equal_pairs"].add(where)
    if record.rewards and record.rewards[0] < record.rewards[1]:
      low, high = record.rewards
      self._places["reversed_pairs"].add(f"{where}: {low:g} < {high:g}")
    elif record.rewards and record.rewards[0] == record.rewards[1]:
      self._places["tied_pairs"].add(f"{where}: both {record.rewards[0]:g}")
    if record.margin is None:
      if not record.rewards:
        self._places["missing_margins"].add(where)
      return
    self._has_margins = True
    if said := margins.contradiction(record):
      self._places["contrary_margins"].add(f"{where}: {said}")
    if record.margin < 0:
      self._places["negative_margins"].add(f"{where}: {record.margin:g}")

  def count(self, kind: str) -> int:
    """Returns how many places of a kind were found."""
    return self._places[kind].count

  def findings(self) -> list[Finding]:
    """Returns a finding for each kind that occurs."""
    found = []
    for kind, (severity, noun, what, remedy) in _KINDS.items():
      if kind == "missing_margins" and not self._has_margins:
        continue
      if kind == "equal_pairs" and self.count(kind) == self._pairs:
        severity = "error"  # a run that compares has no row left
      found += self._places[kind].finding(severity, kind, noun, what, remedy)
    return found
