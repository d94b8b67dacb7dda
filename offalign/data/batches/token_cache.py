"""Cache of tokens on disk, by a hash of what they were made of.

The key is a hash of the texts, the tokenizer (chat template included), the
limits and, since a template may print the date, of what the template writes
now. A file that does not read back as it was written is made anew.
"""

import contextlib
import dataclasses
import hashlib
import json
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from offalign.data.reading.records import Message, Prompt
from offalign.data.reading.token_text import TokenText
from offalign.data.reading.whole_message import WholeMessage
from offalign.data.text.layout import Encoded
from offalign.data.text.spool import Spool
from offalign.data.text.tokenizer import Tokenizer
from offalign.errors import option
from offalign.files import Unwritten

_VERSION = 3  # of the layout of tokens and of the files
_TOKENS = ("prompts", "completions")
_MEMBERS = (
  "about",
  *_TOKENS,
  *(f"{name}_lengths" for name in _TOKENS),
  "lost_prompts",
  "lost_completions",
)
_BLOCK = 1 << 22  # bytes that are read at a time


def encode_rows(
  tokenizer: Tokenizer,
  prompts: Sequence[Prompt],
  sequences: Sequence[tuple[int, str]],
  *,
  max_prompt: int | None,
  max_completion: int | None,
  folder: Path | None,
  spool: Path | None = None,
) -> Encoded:
  """Encodes rows by `Tokenizer.encode_rows`, or reads them from the cache.

  Args:
    tokenizer: encodes what is not in the cache.
    prompts: distinct prompts.
    sequences: (index of the prompt, text of the completion).
    max_prompt: tokens of a prompt that are kept, the last ones; None = all.
    max_completion: tokens of a completion that are kept, the first ones.
    folder: holds the files; may be emptied at any time. None keeps nothing.
    spool: see `Tokenizer.encode_rows`, as whose `folder` it serves.

  Raises:
    UserError: where the folder cannot be written to; as `encode_rows`.
  """

  def encode() -> Encoded:
    return tokenizer.encode_rows(
      prompts,
      sequences,
      max_prompt=max_prompt,
      max_completion=max_completion,
      folder=spool,
    )

  if folder is None:
    return encode()
  limits = {"max_prompt": max_prompt, "max_completion": max_completion}
  name = _key(tokenizer, prompts, sequences, limits)
  path = folder / f"tokens-{name}.npz"
  with _writing(folder):
    folder.mkdir(parents=True, exist_ok=True)
  note = ""
  if path.exists():
    try:
      found = _read(path, name, len(prompts), len(sequences), spool)
    except Unwritten:
      raise
    except Exception as error:  # damage takes many forms
      why = " ".join(str(error).split()) or type(error).__name__
      note = f"note: {path} is damaged ({why}); tokenised anew"
    else:
      return _say(found, f"tokens read from {path}")
  encoded = encode()
  with _writing(folder):
    _write(path, name, encoded)
  return _say(encoded, note) if note else encoded


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise Unwritten(
      f"the cache of tokens, {folder}, cannot be written: {error}. Make room, "
      f"or name another {option('cache')}"
    ) from error


def _say(encoded: Encoded, sentence: str) -> Encoded:
  sentences = (*encoded.sentences, sentence)
  return dataclasses.replace(encoded, sentences=sentences)


def _key(
  tokenizer: Tokenizer,
  prompts: Sequence[Prompt],
  sequences: Sequence[tuple[int, str]],
  limits: dict[str, int | None],
) -> str:
  """Name of a cache file: 32 hex digits."""
  about = [
    _VERSION,
    tokenizers.__version__,
    tokenizer.fingerprint,
    tokenizer.probe,
    limits,
    len(prompts),
  ]
  digest = hashlib.sha256()
  for part in (about, *prompts, *sequences):
    # One line of JSON each: no two lists of texts give the same lines.
    parts = () if isinstance(part, str) else part
    whole = "".join(f" {i}" for i, held in enumerate(parts) if _is_whole(held))
    digest.update(f"{json.dumps(part)}{whole}\n".encode())
    for held in parts:
      if isinstance(held, TokenText):
        digest.update(held.ids.tobytes())
  return digest.hexdigest()[:32]


def _is_whole(held: Any) -> bool:
  """Whether a message or a completion is more than its text."""
  content = held.content if isinstance(held, Message) else held
  return isinstance(content, WholeMessage)


def _write(path: Path, name: str, encoded: Encoded) -> None:
  about = {
    "key": name,
    "cut_prompts": encoded.cut_prompts,
    "cut_completions": encoded.cut_completions,
    "vanished": encoded.vanished,
    "sentences": encoded.sentences,
    "longest_completion": encoded.longest_completion,
  }
  arrays: dict[str, Any] = {
    "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
    "prompts_lengths": encoded.prompts.lengths,
    "prompts": encoded.prompts.tokens,
    "completions_lengths": encoded.completions.lengths,
    "completions": encoded.completions.tokens,
    "lost_prompts": encoded.lost_prompts,
    "lost_completions": encoded.lost_completions,
  }
  # A name of its own, so that two runs cannot write one file between them.
  partial = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
  try:
    with partial.open("wb") as file:
      np.savez(file, checksum=_checksum(arrays), **arrays)
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)
    encoded.prompts.release()
    encoded.completions.release()


def _read(
  path: Path, name: str, prompts: int, sequences: int, spool: Path | None
) -> Encoded:
  """Reads a cache file; a damaged one raises whatever it happens to.

  The tokens are copied to the spool, so that nobody can cut them meanwhile.
  """
  arrays: dict[str, Any] = {}
  digest = hashlib.sha256()
  with zipfile.ZipFile(path) as file:
    checksum = _member(file, "checksum")
    for key in sorted(_MEMBERS):
      if key in _TOKENS:
        arrays[key] = _spooled(file, key, digest, Spool(spool))
        continue
      arrays[key] = _member(file, key)
      _add(digest, key, arrays[key].shape, arrays[key].dtype)
      digest.update(arrays[key].tobytes())
  if checksum.tobytes() != digest.digest():
    raise ValueError("its checksum differs")
  about = json.loads(arrays["about"].tobytes())
  x, y = (arrays[key].done(arrays[f"{key}_lengths"]) for key in _TOKENS)
  if (about["key"], len(x), len(y)) != (name, prompts, sequences):
    raise ValueError("it holds other tokens")
  return Encoded(
    x,
    y,
    about["cut_prompts"],
    about["cut_completions"],
    tuple(about["vanished"]),
    tuple(about["sentences"]),
    arrays["lost_prompts"],
    arrays["lost_completions"],
    about["longest_completion"],
  )


def _member(file: zipfile.ZipFile, key: str) -> np.ndarray:
  with file.open(f"{key}.npy") as member:
    found = np.lib.format.read_array(member, allow_pickle=False)
  return np.asarray(found)


def _spooled(
  file: zipfile.ZipFile, key: str, digest: Any, spool: Spool
) -> Spool:
  """Copies the tokens of a member to a spool, block by block."""
  with file.open(f"{key}.npy") as member:
    if np.lib.format.read_magic(member) != (1, 0):
      raise ValueError("another format of arrays")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype != np.int32 or len(shape) != 1:
      raise ValueError("no tokens")
    _add(digest, key, shape, dtype)
    while block := member.read(_BLOCK):
      digest.update(block)
      spool.fill(np.frombuffer(block, np.int32))
  return spool


def _checksum(arrays: dict[str, np.ndarray]) -> np.ndarray:
  digest = hashlib.sha256()
  for key in sorted(arrays):
    _add(digest, key, arrays[key].shape, arrays[key].dtype)
    content: Any = np.ascontiguousarray(arrays[key])
    digest.update(content)
  return np.frombuffer(digest.digest(), np.uint8)


def _add(digest: Any, key: str, shape: tuple[int, ...], dtype: Any) -> None:
  digest.update(f"{key} {shape} {dtype}".encode())
