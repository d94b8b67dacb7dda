"""Files that are written whole or not at all, and JSON that is read whole."""

import json
import os
import pathlib
from typing import Any

from offalign.errors import UserError


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Writes a file so that it is there whole or not at all."""
  part = path.with_name(path.name + ".part")
  with part.open("w", encoding="utf-8") as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  part.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """`write_atomically` for JSON, indented."""
  write_atomically(path, json.dumps(value, indent=1) + "\n")


def read_object(path: pathlib.Path, cure: str = "") -> dict[str, Any]:
  """Reads a file that holds one JSON object.

  Args:
    path: the file.
    cure: what to do where it does not; put at the end of the sentence.

  Raises:
    UserError: where it cannot be read, is no JSON, or no object; where a key
      comes twice, of which one value would be lost.
  """
  try:
    text = path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"{path} cannot be read ({error}){cure}") from None
  return parse_object(text, str(path), cure)


def parse_object(text: str, where: str, cure: str = "") -> dict[str, Any]:
  """`read_object` of text that was read already.

  Args:
    text: JSON.
    where: names it in the sentence.
    cure: see `read_object`.

  Raises:
    UserError: see `read_object`.
  """
  try:
    found = json.loads(text, object_pairs_hook=unique_keys)
  except RecursionError:
    raise UserError(f"{where} is not JSON (nested too deeply){cure}") from None
  except ValueError as error:
    raise UserError(f"{where} is not JSON ({error}){cure}") from None
  if not isinstance(found, dict):
    raise UserError(f"{where} does not hold a JSON object{cure}")
  return found


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; the `object_pairs_hook` of `json.loads`.

  Raises:
    ValueError: for a key that comes twice, of which a dict keeps one value.
  """
  found = dict(pairs)
  if len(found) < len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"the key {twice!r:.80} comes twice")
  return found
