"""Text to tokens, with text that spells a special token kept ordinary."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import tokenizers
import tqdm

from offalign.errors import UserError

_CHUNK = 1024  # texts encoded at a time


class Plain:
  """Encodes text with a backend that takes special tokens for text.

  Most backends then never make a special token of text. One whose model
  knows them as words (T5's does) would: such a spelling is encoded character
  by character instead.

  Attributes:
    spelled: matches the text of any special token, the longest first.
  """

  def __init__(self, backend: tokenizers.Tokenizer, unknown: str | None):
    """Takes over a backend; `unknown` stands for what it has no token for."""
    backend.encode_special_tokens = True
    self._backend = backend
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
    encoded = encode_all(self._backend, texts)
    for i in _with_any(encoded, np.array(list(self._ids.values()))):
      if self._made(texts[i], encoded[i]):
        encoded[i] = np.array(self._spell(texts[i]), np.int32)
    return encoded

  def inside(self, text: str) -> list[int]:
    """Tokens of text that other text comes before."""
    ids = inside(self._backend, text)
    return self._spell(text) if self._made(text, ids) else ids

  def _made(self, text: str, ids: Sequence[int] | np.ndarray) -> set[str]:
    """The special tokens that the text spells and the ids hold."""
    found = set(self.spelled.findall(text)) - {self._unknown}
    return {token for token in found if self._ids[token] in ids}

  def _spell(self, text: str) -> list[int]:
    ids: list[int] = []
    end = 0
    for match in self.spelled.finditer(text):
      for piece in (text[end : match.start()], *match[0]):
        ids += inside(self._backend, piece) if piece else []
      end = match.end()
    ids += inside(self._backend, text[end:])
    if left := self._made(text, ids):
      raise UserError(
        f"a text spells the special token {min(left)!r}, of which this "
        "tokenizer makes that token however it is written; remove it"
      )
    return ids


def encode_all(
  backend: tokenizers.Tokenizer, texts: Sequence[str]
) -> list[np.ndarray]:
  """Tokens of each text, int32, none added; a bar shows where it takes long.

  The backend uses all cores by itself, unless TOKENIZERS_PARALLELISM=false.
  """
  encoded: list[np.ndarray] = []
  with tqdm.tqdm(
    total=len(texts),
    desc="tokenising",
    unit=" texts",
    disable=None,
    delay=1,
    leave=False,
  ) as bar:
    for start in range(0, len(texts), _CHUNK):
      chunk = list(texts[start : start + _CHUNK])
      batch = backend.encode_batch_fast(chunk, add_special_tokens=False)
      encoded += [np.array(encoding.ids, np.int32) for encoding in batch]
      bar.update(len(chunk))
  return encoded


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


def _with_any(encoded: list[np.ndarray], ids: np.ndarray) -> Iterator[int]:
  """The indices of the sequences that hold any of the ids."""
  for start in range(0, len(encoded), _CHUNK):
    part = encoded[start : start + _CHUNK]
    if np.isin(np.concatenate(part), ids).any():
      for i, tokens in enumerate(part):
        if np.isin(tokens, ids).any():
          yield start + i
