"""What a data path stands for: local files, or a data set of the hub."""

import dataclasses
import glob
import json
import os
import re
from pathlib import Path

from offalign.data.reading import sqlite_rows
from offalign.data.reading.arrow_rows import SPLITS, STATE
from offalign.data.reading.memory import Rows
from offalign.data.reading.records import quote
from offalign.data.reading.sqlite_rows import Database
from offalign.errors import UserError, suggest

_TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
DATABASES = (".db", ".sqlite", ".sqlite3", ".db3")
"""Files of which a table or a query is read, as log.db::thumbs."""
SUFFIXES = (".parquet", ".arrow", *_TEXT, *(f"{s}.gz" for s in _TEXT))
"""Files that are read, whatever the case of these letters."""
_SHOWN = ".parquet, .jsonl, .json, .csv, .tsv"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_TABLE = "::"

# What else people have, and how it becomes a file that is read.
_SPREADSHEET = "save it as CSV in the spreadsheet program"
_PICKLE = (
  "a pickle runs whatever code it holds when it is opened, so none is read; "
  "open it yourself where you trust it, and write it with to_parquet"
)
_ARCHIVE = "unpack it, and name the folder or the files in it"
_PACKED = "decompress it, or compress it with gzip"
_CURES = {
  (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"): _SPREADSHEET,
  (".pkl", ".pickle", ".pt", ".pth", ".joblib"): _PICKLE,
  (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar"): _ARCHIVE,
  (".zst", ".bz2", ".xz", ".lz4", ".zstd"): _PACKED,
  (".feather", ".orc", ".avro", ".h5", ".hdf5", ".dta", ".sav", ".rds"): (
    "write it with pandas' to_parquet"
  ),
  (".npy", ".npz"): "write rows of text and numbers, with pandas' to_parquet",
  (".yaml", ".yml", ".toml", ".xml", ".html"): "write its rows as JSON lines",
  (".txt", ".md", ".log"): (
    "plain text has no columns; write JSON lines, one object of a prompt, a "
    "completion and its feedback a line"
  ),
}


@dataclasses.dataclass(frozen=True)
class DataPath:
  """What a path stands for: local files, or one data set.

  Attributes:
    files: to be read in this order; a folder among them is what
      `Dataset.save_to_disk` wrote.
    hub: the name of a data set of the hub, or `Rows` in memory.
    passed_over: files of a folder that are not read.
  """

  files: tuple[Path | Database, ...]
  hub: str | None = None
  passed_over: tuple[Path, ...] = ()


def find(path: str | Path) -> DataPath:
  """Resolves a file, folder, glob, comma-separated list or hub name.

  A folder stands for the readable files directly in it, sorted by name, but
  for .json files beside others; the rest is listed in `passed_over`. A folder
  that `save_to_disk` wrote is one file; of several splits, "folder:split" is
  one. "log.db::thumbs" is a table of a database, and "log.db::SELECT ..." a
  query, commas and all. A name such as "org/data" or "org/data:split" is
  taken for one of the hub only where nothing local has that name.

  Raises:
    UserError: where nothing is there, nothing in it can be read, or a file
      is named twice.
  """
  if isinstance(path, Rows):
    return DataPath((), hub=path)
  text = str(path)
  if not text.strip():
    raise UserError("the data path is empty; name a file, folder or data set")
  whole = exists(text) or is_query(text)
  parts = [text] if whole else [p.strip() for p in text.split(",")]
  files: list[Path | Database] = []
  passed_over: list[Path] = []
  for part in parts:
    found, other = _find_one(part)
    if found is None:
      if len(parts) == 1 and _looks_like_hub(text):
        return DataPath((), hub=text)
      raise UserError(
        f"there is no file or folder {part!r}; give a {_SHOWN} file, a table "
        f"of a database as log.db{_TABLE}thumbs, a folder or glob of files, a "
        "comma-separated list, or a data set of the Hugging Face hub as "
        "org/name or org/name:split"
      )
    files += found
    passed_over += other
  resolved = [file.resolve() for file in files]
  for i, file in enumerate(resolved):
    if file in resolved[:i]:
      raise UserError(f"{files[i]} is named twice in {text!r}")
  return DataPath(tuple(files), passed_over=tuple(passed_over))


def exists(text: str) -> bool:
  """Whether text is a path that exists; a list may be too long for one."""
  try:
    return os.path.exists(os.path.expanduser(text))
  except (OSError, ValueError):
    return False


def is_query(text: str) -> bool:
  """Whether text is a query of one database, in which commas separate nothing.

  >>> is_query("log.db::SELECT a, b FROM t"), is_query("log.db::thumbs")
  (True, False)
  """
  _, sign, what = text.partition(_TABLE)
  return bool(sign) and sqlite_rows.is_query(what)


def _find_one(
  part: str,
) -> tuple[list[Path | Database] | None, list[Path]]:
  """Finds (what is read, files passed over); (None, []) where there is none."""
  path = Path(os.path.expanduser(part))
  if exists(part) and os.path.isfile(path):
    return [_file(path, part)], []
  if _TABLE in part:
    return [_database(part)], []
  folder, _, split = part.rpartition(":")
  if folder and not exists(part) and _is_saved(Path(folder), SPLITS):
    return [_split(Path(os.path.expanduser(folder)), split)], []
  if exists(part) and os.path.isdir(path):
    if _is_saved(path, STATE):
      return [path], []
    if _is_saved(path, SPLITS):
      return [_split(path, None)], []
    inside = sorted(p for p in path.iterdir() if p.is_file())
    where = f"folder {part}"
  else:
    try:
      found = glob.glob(str(path), recursive=True)
    except (OSError, ValueError):
      found = []
    inside = sorted(Path(p) for p in found if Path(p).is_file())
    where = f"glob {part!r}"
    if not inside:
      return None, []
  readable: list[Path | Database] = [p for p in inside if _is_read(p.name)]
  if where.startswith("folder"):
    # Beside other data a .json file describes them, mostly.
    plain = [p for p in readable if not p.name.lower().endswith(".json")]
    readable = plain or readable
  if not readable:
    raise UserError(f"{where} holds no {_SHOWN} file{_only(inside)}")
  return readable, [p for p in inside if p not in readable]


def _is_read(name: str) -> bool:
  return name.lower().endswith(SUFFIXES)


def _only(inside: list[Path]) -> str:
  """What is said of the first file of a folder in which none is read."""
  for path in inside:
    if path.name.lower().endswith(DATABASES):
      return f"; name a table of {path.name}, as {path}{_TABLE}TABLE"
    if cure := _cure(path.name):
      return f"; of {path.name}: {cure}"
  return ""


def _cure(name: str) -> str:
  for suffixes, cure in _CURES.items():
    if name.lower().endswith(suffixes):
      return cure
  return ""


def _file(path: Path, part: str) -> Path | Database:
  of_saved = path.name in (STATE, SPLITS, "dataset_info.json")
  if of_saved and any(_is_saved(path.parent, f) for f in (STATE, SPLITS)):
    raise UserError(
      f"{part} belongs to a saved data set; name its folder, {path.parent}"
    )
  if _is_read(path.name):
    return path
  if path.name.lower().endswith(DATABASES):
    names = sqlite_rows.tables(path)
    if len(names) == 1:
      return Database(path, names[0])
    if not names:
      raise UserError(f"{part} is a database without a table")
    listed = ", ".join(map(quote, names[:20]))
    raise UserError(
      f"{part} is a database; say which of its tables to read ({listed}), as "
      f"{part}{_TABLE}{names[0]}"
    )
  cure = _cure(path.name) or "convert it to one of them"
  raise UserError(f"{part} is none of {_SHOWN}: {cure}")


def _database(part: str) -> Database:
  name, _, what = part.partition(_TABLE)
  path = Path(os.path.expanduser(name))
  if not (exists(name) and os.path.isfile(path)):
    raise UserError(
      f"there is no database {name!r} to read {quote(what)} of"
      f"{suggest(path.name, _siblings(path))}"
    )
  if not what.strip():
    raise UserError(f"{part!r} names no table; give {name}{_TABLE}TABLE")
  return Database(path, what.strip())


def _siblings(path: Path) -> list[str]:
  try:
    return [p.name for p in path.parent.iterdir()]
  except OSError:
    return []


def _is_saved(folder: Path, file: str) -> bool:
  """Whether `save_to_disk` wrote a folder; `file` tells one from several."""
  try:
    return (Path(os.path.expanduser(str(folder))) / file).is_file()
  except (OSError, ValueError):
    return False


def _split(folder: Path, split: str | None) -> Path:
  """A split of a saved `DatasetDict`, which is a folder inside its folder."""
  try:
    names = json.loads((folder / SPLITS).read_text(encoding="utf-8"))["splits"]
    names = [str(name) for name in names]
    damaged = any(Path(name).name != name for name in names) or not names
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    damaged = True
  if damaged:
    raise UserError(
      f"{folder / SPLITS} does not say what splits there are; save the data "
      "set again, or name the folder of a split"
    )
  if split is None and len(names) == 1:
    split = names[0]
  if split is None or split not in names:
    said = "" if split is None else f"has no split {split!r}, but "
    raise UserError(
      f"{folder} {said or 'has '}the splits {', '.join(map(quote, names))}; "
      f"say which, as {folder}:{'train' if 'train' in names else names[0]}"
    )
  if not _is_saved(folder / split, STATE):
    raise UserError(f"{folder / split} has no {STATE}; save the data set again")
  return folder / split


def _looks_like_hub(text: str) -> bool:
  known = (*SUFFIXES, *DATABASES)
  return bool(_HUB_NAME.fullmatch(text)) and not text.lower().endswith(known)
