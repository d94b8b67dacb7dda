"""Pairs of replies that people compared: reads, splits and tokenizes them.

A file of pairs is `pairs_*.parquet` in TRL's conversational form: `prompt`,
`chosen` and `rejected`, each a list of {role, content}. Conversations are split
by a hash of their first message, so that those that begin alike stay together.
"""

import dataclasses
import hashlib
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from benchmarks.worlds.base import EOS, PAD, SEP
from offalign.errors import UserError, printable

PARTS = {"judge": 50, "train": 30, "validation": 5, "test": 15}
"""Hundredths of the conversations: half of them train the judge alone."""

VOCAB = 512
_FIRST = ("[PAD]", "[SEP]", "[EOS]")


@dataclasses.dataclass(frozen=True)
class Conversation:
  """What was said, and the two replies that were compared.

  Attributes:
    turns: (role, text), the last one the user's.
    chosen: the reply that was preferred.
    rejected: the other.
  """

  turns: tuple[tuple[str, str], ...]
  chosen: str
  rejected: str

  @property
  def part(self) -> str:
    """Which of `PARTS` it belongs to."""
    first = f"feedback/{self.turns[0][1]}".encode()
    hundredth = int(hashlib.sha256(first).hexdigest(), 16) % 100
    for name, share in PARTS.items():
      if hundredth < share:
        return name
      hundredth -= share
    raise AssertionError("the parts are a hundred hundredths")

  @property
  def replies(self) -> list[tuple[str, str]]:
    """(message, reply) of every assistant turn, with the chosen one last."""
    said = [*self.turns, ("assistant", self.chosen)]
    return [
      (before[1], turn[1])
      for before, turn in itertools.pairwise(said)
      if turn[0] == "assistant"
    ]


def read(folder: str | os.PathLike[str]) -> list[Conversation]:
  """Reads the conversations of all files of pairs in a folder.

  Raises:
    UserError: where there are none, or a row has another form.
  """
  import pyarrow.parquet as parquet

  paths = sorted(pathlib.Path(folder).glob("pairs_*.parquet"))
  if not paths:
    raise UserError(
      f"no feedback in {printable(str(folder))}: --data is a folder that holds "
      "hh_harmless/pairs_*.parquet, conversations with two replies each"
    )
  found = []
  for path in paths:
    for i, row in enumerate(parquet.read_table(path).to_pylist()):
      try:
        found.append(_conversation(row))
      except (KeyError, TypeError, IndexError, ValueError):
        raise UserError(
          f"{printable(str(path))}: row {i} is not a conversation with "
          "`prompt`, `chosen` and `rejected` as lists of messages"
        ) from None
  return found


def _conversation(row: dict[str, Any]) -> Conversation:
  turns = tuple((str(m["role"]), str(m["content"])) for m in row["prompt"])
  if turns[-1][0] != "user":
    raise ValueError("the last message is not the user's")
  chosen, rejected = (
    str(row[side][0]["content"]) for side in ("chosen", "rejected")
  )
  return Conversation(turns, chosen, rejected)


class Encoder:
  """Byte-pair tokens of texts, trained on some of them.

  Attributes:
    vocab: all tokens by id; the first three are PAD, SEP and EOS.
  """

  def __init__(self, texts: Sequence[str], size: int = VOCAB):
    """Trains it on the texts.

    Args:
      texts: to learn from.
      size: of the vocabulary, at least 259; fewer where the texts are few.
    """
    self._tokens = tokenizers.Tokenizer(models.BPE())
    self._tokens.pre_tokenizer = pre_tokenizers.ByteLevel(
      add_prefix_space=False
    )
    trainer = trainers.BpeTrainer(
      vocab_size=size,
      special_tokens=list(_FIRST),
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    )
    self._tokens.train_from_iterator(texts, trainer)
    count = self._tokens.get_vocab_size()
    # None where a text spells a special token: it is text, and no token.
    self._tokens.encode_special_tokens = True
    self.vocab = tuple(str(self._tokens.id_to_token(i)) for i in range(count))

  def prompts(self, texts: Sequence[str], width: int) -> np.ndarray:
    """The ends of messages, then PADs and SEP: int32 [n, width]."""
    out = np.full((len(texts), width), PAD, np.int32)
    for row, text in zip(out, texts, strict=True):
      ids = self._ids(text)[-(width - 1) :]
      row[: len(ids)] = ids
    out[:, -1] = SEP
    return out

  def replies(
    self, texts: Sequence[str], width: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """The openings of replies: tokens and mask [n, width].

    A reply that ends within the width has EOS; one that is cut has none.
    """
    tokens = np.full((len(texts), width), PAD, np.int32)
    mask = np.zeros(tokens.shape, bool)
    for row, kept, text in zip(tokens, mask, texts, strict=True):
      ids = [*self._ids(text), EOS][:width]
      row[: len(ids)] = ids
      kept[: len(ids)] = True
    return tokens, mask

  def _ids(self, text: str) -> list[int]:
    return self._tokens.encode(text, add_special_tokens=False).ids
