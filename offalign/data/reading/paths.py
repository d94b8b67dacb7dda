"""What a data path stands for: local files, or a data set of the hub."""

import dataclasses
import glob
import os
import re
from pathlib import Path

from offalign.data.reading.memory import Rows
from offalign.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


@dataclasses.dataclass(frozen=True)
class DataPath:
  """What a path stands for: local files, or one data set.

  Attributes:
    files: to be read in this order.
    hub: the name of a data set of the hub, or `Rows` in memory.
    passed_over: files of a folder that are not read.
  """

  files: tuple[Path, ...]
  hub: str | None = None
  passed_over: tuple[Path, ...] = ()


def find(path: str | Path) -> DataPath:
  """Resolves a file, folder, glob, comma-separated list or hub name.

  A folder stands for the readable files directly in it, sorted by name; the
  others are listed in `passed_over`. A name such as "org/data" or
  "org/data:split" is taken for one of the hub only where nothing local has
  that name.

  Raises:
    UserError: where nothing is there, nothing in it can be read, or a file
      is named twice.
  """
  if isinstance(path, Rows):
    return DataPath((), hub=path)
  text = str(path)
  if not text.strip():
    raise UserError("the data path is empty; name a file, folder or data set")
  parts = [text] if exists(text) else [p.strip() for p in text.split(",")]
  files: list[Path] = []
  passed_over: list[Path] = []
  for part in parts:
    found, other = _find_one(part)
    if found is None:
      if len(parts) == 1 and _looks_like_hub(text):
        return DataPath((), hub=text)
      raise UserError(
        f"there is no file or folder {part!r}; give a {', '.join(SUFFIXES)} "
        "file, a folder or glob of them, a comma-separated list, or a data "
        "set of the Hugging Face hub as org/name or org/name:split"
      )
    files += found
    passed_over += other
  resolved = [file.resolve() for file in files]
  for i, file in enumerate(resolved):
    if file in resolved[:i]:
      raise UserError(f"{files[i]} is named twice in {text!r}")
  return DataPath(tuple(files), passed_over=tuple(passed_over))


def exists(text: str) -> bool:
  """Whether text is a path that exists; a long list of paths is none."""
  return os.path.exists(os.path.expanduser(text))


def _find_one(part: str) -> tuple[list[Path] | None, list[Path]]:
  """Finds (readable files, files passed over); (None, []) where none are."""
  path = Path(os.path.expanduser(part))
  if os.path.isfile(path):
    if not part.endswith(SUFFIXES):
      raise UserError(
        f"{part} is none of {', '.join(SUFFIXES)}; convert it to one of them"
      )
    return [path], []
  if os.path.isdir(path):
    inside = sorted(p for p in path.iterdir() if p.is_file())
    where = f"folder {part}"
  else:
    inside = sorted(
      Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file()
    )
    where = f"glob {part!r}"
    if not inside:
      return None, []
  readable = [p for p in inside if p.name.endswith(SUFFIXES)]
  if not readable:
    raise UserError(f"{where} holds no {', '.join(SUFFIXES)} file")
  return readable, [p for p in inside if p not in readable]


def _looks_like_hub(text: str) -> bool:
  return bool(_HUB_NAME.fullmatch(text)) and not text.endswith(SUFFIXES)
