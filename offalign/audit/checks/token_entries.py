"""Entries of what is trained on: one a completion, of tokens after the cut."""

import dataclasses

import numpy as np

from offalign.audit.scan.entries import Entry, Spill, digest, flat
from offalign.data.batches import equal_tokens
from offalign.data.batches.equal_tokens import SEQUENCE
from offalign.data.reading.records import Prompt
from offalign.data.text.tokenizer import Tokenizer

_TEXT_BITS = np.uint64((1 << 56) - 1)  # of a prompt's text, in `loose`


@dataclasses.dataclass(frozen=True)
class Turn:
  """A completion and where it is.

  Attributes:
    prompt: its prompt.
    text: its text.
    where: its place in words.
    at: its file and row, see `place`.
    side: its place in the row.
    value: its reward or label; NaN = none.
  """

  prompt: Prompt
  text: str
  where: str
  at: int = -1
  side: int = 0
  value: float = float("nan")


class TokenEntries:
  """Spills an entry of each completion's tokens, as the limits leave them.

  In them `prompt` and `text` are hashes of tokens, `record` is one of the
  texts of prompt and completion, and lengths are in tokens. `loose` has the
  first 8 bits of `prompt`, by which entries are parted, and 56 of a hash of
  the prompt's text.

  Attributes:
    limits: the most tokens of prompts and completions; None = no limit.
  """

  def __init__(
    self,
    entries: Spill,
    tokenizer: Tokenizer,
    limits: tuple[int | None, int | None],
  ):
    """`entries` is for these alone."""
    self.limits = limits
    self._entries = entries
    self._tokenizer = tokenizer

  def add(self, turn: Turn, prompt: np.ndarray, completion: np.ndarray) -> None:
    """Adds a completion; all of its tokens, and its prompt's."""
    max_prompt, max_completion = self.limits
    if max_prompt is not None and len(prompt) > max_prompt:
      prompt = self._tokenizer.cut_prompt(turn.prompt, prompt, max_prompt)
    completion = completion[:max_completion]
    hashed, whole = equal_tokens.digest_both(prompt, completion)
    text = digest(flat(turn.prompt))
    self._entries.add(
      Entry(
        prompt=hashed,
        loose=(hashed >> 56 << 56) | text & int(_TEXT_BITS),
        text=whole,
        record=digest(f"{text} {turn.text}"),
        row=turn.at,
        value=turn.value,
        words=len(completion),
        prompt_words=len(prompt),
        side=turn.side,
        label=-1,
      )
    )


def prompt_text(part: np.ndarray) -> np.ndarray:
  """uint64 [N]: 56 bits of a hash of each prompt's text."""
  return part["loose"] & _TEXT_BITS


def sequences(part: np.ndarray) -> np.ndarray:
  """`SEQUENCE` rows of the entries, for `EqualTokens`."""
  made = np.zeros(len(part), SEQUENCE)
  for name, of in (
    ("row", "row"),
    ("side", "side"),
    ("prompt", "prompt"),
    ("tokens", "text"),
    ("text", "record"),
    ("value", "value"),
  ):
    made[name] = part[of]
  return made
