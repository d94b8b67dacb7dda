"""Where rows come from: local files, or a data set of the Hugging Face hub.

A reader turns one file into `RawRows`: untyped dicts, and a problem for each
row that cannot even be parsed. What the dicts mean is for formats.py.
"""

import dataclasses
import glob
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from offalign.data.records import Problem
from offalign.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class RawRows:
  """The rows of one file, before anything is made of them.

  Attributes:
    name: the file, as the user wrote it.
    columns: every column or key that some row has, in order of appearance.
    rows: row number -> its dict, in order.
    problems: rows that could not be parsed; they are not in `rows`.
    blank_lines: lines of a JSON-lines file that hold nothing.
  """

  name: str
  columns: tuple[str, ...]
  rows: dict[int, dict[str, Any]]
  problems: tuple[Problem, ...] = ()
  blank_lines: int = 0


@dataclasses.dataclass(frozen=True)
class Sources:
  """What a path stands for: local files, or one data set of the hub."""

  files: tuple[Path, ...]
  hub: str | None = None
  passed_over: tuple[Path, ...] = ()


def find(path: str | Path) -> Sources:
  """Resolves a file, folder, glob, comma-separated list or hub name.

  A folder stands for the readable files directly in it, sorted by name; the
  others are listed in `passed_over`. A name such as "org/data" or
  "org/data:split" is taken for one of the hub only where nothing local has
  that name.

  Raises:
    UserError: where nothing is there, nothing in it can be read, or a file
      is named twice.
  """
  text = str(path)
  if not text.strip():
    raise UserError("the data path is empty; name a file, folder or data set")
  whole = Path(text).expanduser()
  parts = [text] if whole.exists() else [p.strip() for p in text.split(",")]
  files: list[Path] = []
  passed_over: list[Path] = []
  for part in parts:
    found, other = _find_one(part)
    if found is None:
      if len(parts) == 1 and _looks_like_hub(text):
        return Sources((), hub=text)
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
  return Sources(tuple(files), passed_over=tuple(passed_over))


def _find_one(part: str) -> tuple[list[Path] | None, list[Path]]:
  """(readable files, files passed over), or (None, []) where there is none."""
  path = Path(part).expanduser()
  if path.is_file():
    if not part.endswith(SUFFIXES):
      raise UserError(
        f"{part} is none of {', '.join(SUFFIXES)}; convert it to one of them"
      )
    return [path], []
  if path.is_dir():
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


def read(source: Path | str) -> RawRows:
  """Reads a local file (a `Path`) or a hub data set (a name).

  Raises:
    UserError: where the file as a whole cannot be read, or has no rows.
  """
  if isinstance(source, str):
    raw = _read_hub(source)
  elif source.name.endswith(".parquet"):
    raw = _read_parquet(source)
  else:
    raw = _read_jsonl(source)
  if not raw.rows and not raw.problems:
    raise UserError(f"{raw.name} has no rows")
  return raw


def _read_jsonl(path: Path) -> RawRows:
  name = str(path)
  rows: dict[int, dict[str, Any]] = {}
  problems: list[Problem] = []
  columns: dict[str, None] = {}
  blank = 0
  for number, line in enumerate(_lines(path)):
    if number == 0:
      line = line.removeprefix(_BOM)
    if not line.strip():
      blank += 1
      continue
    try:
      row = json.loads(line.decode("utf-8"), object_pairs_hook=_no_repeats)
      if not isinstance(row, dict):
        raise ValueError(f"not a JSON object but {_json_name(row)}")
    except UnicodeDecodeError as error:
      what = (
        f"not valid UTF-8: byte 0x{line[error.start]:02x} at byte "
        f"{error.start} of the line"
      )
      problems.append(Problem(name, number, None, what))
    except json.JSONDecodeError as error:
      cut = "" if line.endswith(b"\n") else "; the file ends here, mid-line"
      reason = error.msg.removesuffix(" at")
      what = f"not valid JSON: {reason} at character {error.pos}{cut}"
      problems.append(Problem(name, number, None, what))
    except RecursionError:
      problems.append(Problem(name, number, None, "JSON nested too deeply"))
    except ValueError as error:
      problems.append(Problem(name, number, None, str(error)))
    else:
      rows[number] = row
      columns.update(dict.fromkeys(row))
  return RawRows(name, tuple(columns), rows, tuple(problems), blank)


def _lines(path: Path) -> Iterator[bytes]:
  """Yields the lines of a file, gzipped or not."""
  opener: Any = gzip.open if path.name.endswith(".gz") else open
  try:
    with opener(path, "rb") as stream:
      yield from stream
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise UserError(
      f"{path} is not a whole gzip file ({error}); fetch or write it again"
    ) from error
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; a repeated key would lose a value silently."""
  row = dict(pairs)
  if len(row) < len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"key {twice!r} appears twice in one JSON object")
  return row


def _json_name(value: object) -> str:
  return {
    list: "a list",
    str: "text",
    bool: "a boolean",
    type(None): "null",
  }.get(type(value), "a number")


def _read_parquet(path: Path) -> RawRows:
  import pyarrow as pa
  import pyarrow.parquet as pq

  name = str(path)
  try:
    with pq.ParquetFile(path) as file:
      columns = tuple(file.schema_arrow.names)
      return _from_batches(name, columns, file.iter_batches())
  except (pa.ArrowException, OSError) as error:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else "empty"
    raise UserError(
      f"{path} is not a whole Parquet file ({reason}); fetch or write it again"
    ) from error


def _from_batches(
  name: str, columns: tuple[str, ...], batches: Iterable[Any]
) -> RawRows:
  """Arrow record batches -> rows; finds the rows with invalid UTF-8."""
  rows: dict[int, dict[str, Any]] = {}
  problems = []
  start = 0
  for batch in batches:
    try:
      rows.update(enumerate(batch.to_pylist(), start))
    except UnicodeDecodeError:
      for i in range(batch.num_rows):
        try:
          rows[start + i] = batch.slice(i, 1).to_pylist()[0]
        except UnicodeDecodeError:
          problems.append(Problem(name, start + i, None, "not valid UTF-8"))
    start += batch.num_rows
  return RawRows(name, columns, rows, tuple(problems))


def _read_hub(name: str) -> RawRows:
  """Reads a split of a hub data set; no code of the data set is run."""
  import datasets

  repository, _, split = name.partition(":")
  try:
    data = datasets.load_dataset(repository, split=split or None)
  except Exception as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise UserError(
      f"nothing local is called {name!r}, and as a data set of the Hugging "
      f"Face hub it could not be loaded: {reason}"
    ) from error
  if isinstance(data, dict):
    if len(data) != 1:
      example = "train" if "train" in data else next(iter(data))
      raise UserError(
        f"data set {repository!r} has the splits {', '.join(data)}; say which, "
        f"as {repository}:{example}"
      )
    data = next(iter(data.values()))
  table = data.with_format("arrow")
  return _from_batches(
    name,
    tuple(data.column_names),
    (batch for part in table.iter(1000) for batch in part.to_batches()),
  )
