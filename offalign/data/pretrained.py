"""Reading a tokenizer.json and the names of its special tokens."""

import json
from pathlib import Path
from typing import Any

import tokenizers

from offalign.errors import UserError

_NAMES = ("bos_token", "eos_token", "pad_token")


def read(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
  """Reads a tokenizer.json, or the one in a folder.

  Returns:
    The backend, and what is known of its special tokens.

  Raises:
    UserError: where the file is absent or no tokenizer.
  """
  file = path / "tokenizer.json" if path.is_dir() else path
  if not file.is_file():
    raise UserError(
      f"there is no tokenizer {str(path)!r}: give 'byte', 'bpe', a "
      "tokenizer.json or a folder that holds one"
    )
  try:
    backend = tokenizers.Tokenizer.from_file(str(file))
  except Exception as error:  # the library raises bare Exception
    raise UserError(f"{file} is no tokenizer.json: {error}") from error
  special = _json(file.parent / "special_tokens_map.json")
  config = _json(file.parent / "tokenizer_config.json")
  known: dict[str, Any] = {}
  for name in _NAMES:
    token = config.get(name) or special.get(name)
    if token is not None:
      known[name] = token["content"] if isinstance(token, dict) else token
  for name in ("tokenizer_class", "role_markers"):
    if name in config:
      known[name] = config[name]
  return backend, known


def _json(path: Path) -> dict[str, Any]:
  if not path.is_file():
    return {}
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise UserError(f"{path} is not valid JSON: {error}") from error
  if not isinstance(content, dict):
    raise UserError(f"{path} does not hold a JSON object")
  return content


def special_id(
  backend: tokenizers.Tokenizer, config: dict[str, Any], name: str
) -> int | None:
  """The id of a named special token; None where none is named.

  Raises:
    UserError: where it is named but not in the vocabulary.
  """
  token = config.get(name)
  if token is None:
    return None
  found = backend.token_to_id(token)
  if found is None:
    raise UserError(
      f"the tokenizer's {name} {token!r} is not in its vocabulary"
    )
  return int(found)


def around(
  backend: tokenizers.Tokenizer, config: dict[str, Any]
) -> tuple[list[int], list[int]]:
  """What the tokenizer puts before and after the text of a prompt.

  A BOS before it is kept. An EOS after it is what T5's encoder expects; for
  any other model it would end the prompt before the completion, so it is not
  kept.
  """
  encoding = backend.encode("x", add_special_tokens=True)
  added = encoding.special_tokens_mask
  text = [i for i, special in enumerate(added) if not special]
  if not text:
    return list(encoding.ids), []
  is_t5 = "T5" in config.get("tokenizer_class", "")
  return (
    list(encoding.ids[: text[0]]),
    list(encoding.ids[text[-1] + 1 :]) if is_t5 else [],
  )


def role_marker_ids(
  backend: tokenizers.Tokenizer, config: dict[str, Any]
) -> dict[str, int]:
  """Role -> id of its marker, for tokenizers of our own; else empty.

  Raises:
    UserError: where a marker is not in the vocabulary.
  """
  ids = {}
  for role, marker in config.get("role_markers", {}).items():
    found = backend.token_to_id(marker)
    if found is None:
      raise UserError(
        f"the tokenizer's role marker {marker!r} is not in its vocabulary"
      )
    ids[role] = int(found)
  return ids
