"""Reads and appends rows in JSON lines that survive a crash of the writer."""

import json
import os
import pathlib

from offalign.errors import UserError
from offalign.leaderboard.rows import Row


def append(path: str | os.PathLike[str], row: Row) -> None:
  """Adds one row to a file and waits until it is on the disk.

  The line goes out in one write, so a crash leaves the earlier rows as they
  were and at most one half-written line at the end, which `read` reports. A
  file that ends in half a line is given a line break first.

  Args:
    path: a .jsonl file; it and its folder are created where absent.
    row: the row.

  Raises:
    UserError: where `path` does not end in .jsonl, which `read` looks for.
  """
  path = pathlib.Path(path)
  if path.suffix != ".jsonl":
    raise UserError(f"rows go to a .jsonl file, not to {path.name!r}")
  path.parent.mkdir(parents=True, exist_ok=True)
  line = row.to_json().encode() + b"\n"
  flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
  descriptor = os.open(path, flags, 0o644)
  try:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size:
      os.lseek(descriptor, size - 1, os.SEEK_SET)
      if os.read(descriptor, 1) != b"\n":
        line = b"\n" + line
    while line:
      line = line[os.write(descriptor, line) :]
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def read(directory: str | os.PathLike[str]) -> tuple[list[Row], list[str]]:
  """Reads every *.jsonl file of a folder, in the order of their names.

  Args:
    directory: a folder.

  Returns:
    The rows, in file and line order, and one sentence for each line that was
    left out because it is not complete JSON.

  Raises:
    UserError: for a missing folder, and for a complete line that is not a
      row; the message names the file and the line.
  """
  folder = pathlib.Path(directory)
  if not folder.is_dir():
    raise UserError(f"{os.fspath(directory)!r} is not a folder")
  rows: list[Row] = []
  problems: list[str] = []
  for path in sorted(folder.glob("*.jsonl")):
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
      if not raw.strip():
        continue
      where = f"{path.name}:{number}"
      try:
        rows.append(Row.from_json(raw.decode(), where))
      except RecursionError:
        raise UserError(
          f"{where}: JSON nested too deeply for a row; remove the line"
        ) from None
      except (json.JSONDecodeError, UnicodeDecodeError):
        problems.append(
          f"{where} is not complete JSON, as when a run stops while it "
          "writes; the line is left out."
        )
  return rows, problems
