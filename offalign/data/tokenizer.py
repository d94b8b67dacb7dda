"""Text to tokens and back, over the `tokenizers` library.

Prompts and completions are tokenised apart, so that the tokens of a prompt
are a prefix of prompt plus completion by construction. Text that spells a
special token is ordinary text.

Layout of our own tokenizers ("byte" and "bpe"):

  prompt, text:          <bos> text
  prompt, conversation:  <bos> (role marker, content, newline) for each
                         message, then the marker of the assistant
  completion:            content <eos>
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from offalign.data import byte_level, pretrained
from offalign.data.records import Prompt
from offalign.errors import UserError

_CHUNK = 1024  # texts encoded at a time


class Tokenizer:
  """Encodes prompts and completions; made by `make` or its class methods.

  Attributes:
    vocab_size: V, one more than the largest id.
    pad_id: fills what masks hide; may equal another id.
    eos_id: ends a completion.
    bos_id: or None.
  """

  def __init__(self, backend: tokenizers.Tokenizer, config: dict[str, Any]):
    """Wraps a backend; `config` is what `tokenizer_config.json` holds.

    Raises:
      UserError: where a special token is not in the vocabulary, or no
        end-of-sequence token is named.
    """
    # A file may carry these settings; each would change tokens unseen.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    self._backend = backend
    self._config = config
    self.vocab_size = max(backend.get_vocab().values()) + 1
    eos = pretrained.special_id(backend, config, "eos_token")
    if eos is None:
      raise UserError(
        "the tokenizer names no end-of-sequence token; add 'eos_token' to the "
        "tokenizer_config.json beside its tokenizer.json"
      )
    pad = pretrained.special_id(backend, config, "pad_token")
    self.eos_id = eos
    self.pad_id = eos if pad is None else pad
    self.bos_id = pretrained.special_id(backend, config, "bos_token")
    self._markers = pretrained.role_marker_ids(backend, config)
    # What stands before and after the text of every prompt.
    self._before, self._after = pretrained.around(backend, config)

  @classmethod
  def byte(cls) -> "Tokenizer":
    """Bytes as tokens: no training, any text."""
    return cls(byte_level.byte(), byte_level.CONFIG)

  @classmethod
  def bpe(
    cls, texts: Iterable[str], vocab_size: int = byte_level.DEFAULT_VOCAB_SIZE
  ) -> "Tokenizer":
    """Byte-pair encoding of bytes, trained on `texts`.

    Args:
      texts: the training texts. Few or short ones may give fewer tokens than
        asked for; see the attribute `vocab_size`.
      vocab_size: specials and bytes included.

    Raises:
      UserError: for a vocabulary too small to hold every byte.
    """
    return cls(byte_level.bpe(texts, vocab_size), byte_level.CONFIG)

  @classmethod
  def load(cls, path: str | Path) -> "Tokenizer":
    """Reads a tokenizer.json, or a folder that holds one.

    The names of the special tokens come from tokenizer_config.json or
    special_tokens_map.json beside it.

    Raises:
      UserError: where there is none, or it cannot be used.
    """
    return cls(*pretrained.read(Path(path).expanduser()))

  def save(self, folder: str | Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json into a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(
      self._backend.to_str(pretty=True), encoding="utf-8"
    )
    (folder / "tokenizer_config.json").write_text(
      json.dumps(self._config, indent=2, sort_keys=True), encoding="utf-8"
    )

  @property
  def fingerprint(self) -> str:
    """16 hex digits that change with anything that changes tokens."""
    config = json.dumps(self._config, sort_keys=True)
    content = self._backend.to_str() + "\0" + config
    return hashlib.sha256(content.encode()).hexdigest()[:16]

  def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
    """Tokens of each text, int32, with no special token added."""
    encoded: list[np.ndarray] = []
    for start in range(0, len(texts), _CHUNK):
      chunk = list(texts[start : start + _CHUNK])
      batch = self._backend.encode_batch_fast(chunk, add_special_tokens=False)
      encoded += [np.array(encoding.ids, np.int32) for encoding in batch]
    return encoded

  def decode(self, ids: Iterable[int]) -> str:
    """Text of the tokens before the first EOS; special tokens are skipped."""
    kept = []
    for token in ids:
      if token == self.eos_id:
        break
      kept.append(int(token))
    return self._backend.decode(kept, skip_special_tokens=True)

  def encode_prompts(
    self, prompts: Sequence[Prompt], max_length: int | None = None
  ) -> tuple[list[np.ndarray], int]:
    """Tokens of each prompt, cut to the last `max_length`.

    What the layout puts at the very beginning (BOS) survives the cut. A
    prompt without any token is one of text "" whose tokenizer has no BOS.

    Returns:
      int32 arrays, and the number of prompts that were cut.

    Raises:
      UserError: for a conversation and a tokenizer without role markers, or
        a `max_length` that leaves no room for text.
    """
    fixed = len(self._before) + len(self._after)
    if max_length is not None and max_length <= fixed:
      raise UserError(
        f"max_prompt must be at least {fixed + 1} with this tokenizer, not "
        f"{max_length}"
      )
    before = np.array(self._before, np.int32)
    after = np.array(self._after, np.int32)
    cut = 0
    encoded = []
    for body in self._bodies(prompts):
      if max_length is not None and len(body) > max_length - fixed:
        body = body[len(body) - (max_length - fixed) :]
        cut += 1
      whole = np.concatenate([before, body, after])
      if not len(whole) and self.bos_id is not None:
        whole = np.array([self.bos_id], np.int32)
      encoded.append(whole)
    return encoded, cut

  def _bodies(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
    """Tokens of prompts, all but what stands around every one."""
    texts: list[str] = []
    for prompt in prompts:
      if isinstance(prompt, str):
        texts.append(prompt)
      elif not self._markers:
        raise UserError(
          "the data holds conversations, and this tokenizer needs its chat "
          "template for them, which is not supported; use plain text, or the "
          "tokenizer 'byte' or 'bpe'"
        )
      else:
        texts += [f"{message.content}\n" for message in prompt]
    encoded = iter(self.encode(texts))
    bodies = []
    for prompt in prompts:
      if isinstance(prompt, str):
        bodies.append(next(encoded))
        continue
      parts: list[np.ndarray] = []
      for message in prompt:
        parts += [self._marker(message.role), next(encoded)]
      bodies.append(np.concatenate([*parts, self._marker("assistant")]))
    return bodies

  def _marker(self, role: str) -> np.ndarray:
    return np.array([self._markers[role]], np.int32)

  def encode_completions(
    self, texts: Sequence[str], max_length: int | None = None
  ) -> tuple[list[np.ndarray], int]:
    """Tokens of each completion and one EOS, or its first `max_length`.

    A completion that is cut has no EOS: the model is not to learn to stop
    there.

    Returns:
      int32 arrays, none empty, and the number of completions that were cut.

    Raises:
      UserError: for a `max_length` below 1.
    """
    if max_length is not None and max_length < 1:
      raise UserError(f"max_completion must be at least 1, not {max_length}")
    cut = 0
    encoded = []
    for body in self.encode(texts):
      if max_length is not None and len(body) >= max_length:
        encoded.append(body[:max_length])
        cut += 1
      else:
        encoded.append(np.append(body, np.int32(self.eos_id)))
    return encoded, cut


def make(
  spec: str, texts: Iterable[str] | None = None, vocab_size: int | None = None
) -> Tokenizer:
  """Returns the tokenizer that a spec names.

  Args:
    spec: "byte"; "bpe", trained on `texts`; or the path of a tokenizer.json
      or of a folder that holds one.
    texts: training texts, for "bpe".
    vocab_size: for "bpe"; None = `byte_level.DEFAULT_VOCAB_SIZE`.

  Raises:
    UserError: where the spec names nothing, or `vocab_size` is set for
      another than "bpe".
  """
  if vocab_size is not None and spec != "bpe":
    raise UserError(
      f"vocab_size is set, but only tokenizer 'bpe' is trained, not {spec!r}; "
      "leave it out"
    )
  if spec == "byte":
    return Tokenizer.byte()
  if spec == "bpe":
    if texts is None:
      raise UserError("tokenizer 'bpe' is trained: it needs texts")
    return Tokenizer.bpe(texts, vocab_size or byte_level.DEFAULT_VOCAB_SIZE)
  return Tokenizer.load(spec)
