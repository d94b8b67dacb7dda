"""Files that are there whole or not at all."""

import json
import os
import pathlib
from typing import Any


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
