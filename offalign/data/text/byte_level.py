"""The tokenizers of our own: bytes, and byte-pair encoding of bytes."""

from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import (
  decoders,
  models,
  pre_tokenizers,
  processors,
  trainers,
)

from offalign.data.reading.records import ROLES
from offalign.errors import UserError, option

_PAD, _EOS, _BOS = "<pad>", "<eos>", "<bos>"
_MARKERS = {role: f"<|{role}|>" for role in ROLES}
_SPECIALS = [_PAD, _EOS, _BOS, *_MARKERS.values()]

CONFIG: dict[str, Any] = {
  "bos_token": _BOS,
  "eos_token": _EOS,
  "pad_token": _PAD,
  "role_markers": _MARKERS,
}
"""What tokenizer_config.json holds for them."""

DEFAULT_VOCAB_SIZE = 8192
MIN_VOCAB_SIZE = len(_SPECIALS) + 256


def byte() -> tokenizers.Tokenizer:
  """Specials first, then byte b as token `len(specials) + b`."""
  vocab = {token: i for i, token in enumerate([*_SPECIALS, *_symbols()])}
  return _finish(tokenizers.Tokenizer(models.BPE(vocab, [])))


def bpe(texts: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
  """Trains merges on texts; see `Tokenizer.bpe`."""
  if vocab_size < MIN_VOCAB_SIZE:
    raise UserError(
      f"{option('vocab_size')} must be at least {MIN_VOCAB_SIZE} (every "
      f"byte, and {len(_SPECIALS)} special tokens), not {vocab_size}"
    )
  backend = tokenizers.Tokenizer(models.BPE())
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  trainer = trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=_SPECIALS,
    initial_alphabet=_symbols(),
    show_progress=False,
  )
  backend.train_from_iterator(texts, trainer)
  return _finish(backend)


def _finish(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  backend.decoder = decoders.ByteLevel()
  backend.add_special_tokens(_SPECIALS)
  backend.post_processor = processors.TemplateProcessing(
    single=f"{_BOS} $A",
    special_tokens=[(_BOS, backend.token_to_id(_BOS))],
  )
  return backend


def _symbols() -> list[str]:
  """The printable character that stands for each byte, in byte order.

  As in GPT-2: printable bytes stand for themselves, the others for the
  characters from U+0100 on.
  """
  printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
  others = iter(range(256, 512))
  return [
    chr(byte if byte in printable else next(others)) for byte in range(256)
  ]
