"""Text to tokens, with text that spells a special token kept ordinary."""

import re
from collections.abc import Sequence

import numpy as np
import tokenizers

from offalign.errors import UserError


class Plain:
  """Encodes text with a backend that takes special tokens for text.

  Most backends then never make a special token of text. One whose model
  knows them as words (T5's does) would: such a spelling is encoded character
  by character instead.

  Attributes:
    spelled: matches the text of any special token, the longest first.
    vocab_size: one more than the largest id.
  """

  def __init__(self, backend: tokenizers.Tokenizer, unknown: str | None):
    """Takes over a backend; `unknown` stands for what it has no token for."""
    backend.encode_special_tokens = True
    self._backend = backend
    self.vocab_size = max(backend.get_vocab().values()) + 1
    added = backend.get_added_tokens_decoder().items()
    self._ids = {t.content: i for i, t in added if t.special}
    longest = sorted(self._ids, key=len, reverse=True)
    self.spelled = re.compile("|".join(map(re.escape, longest)) or "(?!)")
    self._unknown = unknown or getattr(backend.model, "unk_token", None)

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Tokens of each text, int32, with no special token added.

    Raises:
      UserError: where a text spells a special token that the tokenizer makes
        of each way to write it.
    """
    encoded = batch(self._backend, texts)
    special = np.array(list(self._ids.values()))
    if len(encoded) and np.isin(np.concatenate(encoded), special).any():
      for i, ids in enumerate(encoded):
        if self._made(texts[i], ids):
          encoded[i] = np.array(self._spell(texts[i], first=True), np.int32)
    return encoded

  def inside(self, text: str) -> list[int]:
    """Tokens of text that other text comes before."""
    ids = inside(self._backend, text)
    return self._spell(text, first=False) if self._made(text, ids) else ids

  def _made(self, text: str, ids: Sequence[int] | np.ndarray) -> set[str]:
    """The special tokens that the text spells and the ids hold."""
    found = set(self.spelled.findall(text)) - {self._unknown}
    return {token for token in found if self._ids[token] in ids}

  def _spell(self, text: str, *, first: bool) -> list[int]:
    """Tokens of text, of which no piece spells a special token.

    Args:
      text: the text.
      first: whether no other text comes before.
    """
    pieces: list[str] = []
    end = 0
    for match in self.spelled.finditer(text):
      pieces += [text[end : match.start()], *match[0]]
      end = match.end()
    pieces.append(text[end:])
    ids: list[int] = []
    for i, piece in enumerate(pieces):
      if i == 0 and first:
        ids += self._backend.encode(piece, add_special_tokens=False).ids
      elif piece:
        ids += inside(self._backend, piece)
    if left := self._made(text, ids):
      raise UserError(
        f"a text spells the special token {min(left)!r}, of which this "
        "tokenizer makes that token however it is written; remove it"
      )
    return ids


def batch(
  backend: tokenizers.Tokenizer, texts: Sequence[str]
) -> list[np.ndarray]:
  """Tokens of each text, int32, none added.

  The backend uses all cores by itself, unless TOKENIZERS_PARALLELISM=false.
  """
  found = backend.encode_batch_fast(list(texts), add_special_tokens=False)
  return [np.array(encoding.ids, np.int32) for encoding in found]


def inside(backend: tokenizers.Tokenizer, text: str) -> list[int]:
  """Tokens of text that other text comes before.

  Some tokenizers put a space before what they take for the beginning of a
  text, so it is encoded after a newline, where that leaves it whole.
  """
  newline = backend.encode("\n", add_special_tokens=False).ids
  ids = backend.encode("\n" + text, add_special_tokens=False).ids
  if ids[: len(newline)] == newline:
    return list(ids[len(newline) :])
  return list(backend.encode(text, add_special_tokens=False).ids)
