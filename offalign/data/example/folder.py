"""Write the sample log in the forms in which systems export theirs."""

import csv
import datetime
import inspect
import io
import json
import pathlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from offalign.data.example import score, shop
from offalign.data.example.shop import Answer
from offalign.errors import UserError
from offalign.files import write_atomically, writing

FILES = {
  "thumbs.jsonl": "a thumb for each answer, with the columns that are read",
  "export.csv": "the same as a table, with thumbs of up, down and empty",
  "chats.jsonl": "the same as chats, with feedback.score of 1, -1 and null",
  "ratings.db": "the same in SQLite, with stars from 1 to 5",
  "score.py": "a function that scores answers, for offalign compare",
}
"""What `write` writes -> what it is."""


def write(folder: str | pathlib.Path, seed: int = 0) -> pathlib.Path:
  """Writes the files of `FILES`.

  Args:
    folder: a new one, or an empty one.
    seed: of the rows; another one makes other rows.

  Returns:
    The folder.

  Raises:
    UserError: where there is something already.
    Unwritten: where the folder cannot be written to.
  """
  folder = pathlib.Path(folder)
  with writing(folder):
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
      raise UserError(
        f"{folder} is there already, and nothing is written over it: name a "
        "new folder, or delete it first"
      )
    folder.mkdir(parents=True, exist_ok=True)
  rows = shop.answers(seed)
  for name, make in _TEXTS.items():
    write_atomically(folder / name, make(rows))
  with writing(folder / "ratings.db"):
    _write_database(folder / "ratings.db", rows)
  return folder


def _thumbs(rows: Sequence[Answer]) -> str:
  return _lines(
    {"prompt": row.question, "completion": row.answer, "label": row.liked}
    for row in rows
  )


def _chats(rows: Sequence[Answer]) -> str:
  return _lines(
    {
      "id": f"chat-{number:05}",
      "created": _time(number),
      "messages": [
        {"role": "user", "content": row.question},
        {"role": "assistant", "content": row.answer},
      ],
      "feedback": {"score": (1 if row.liked else -1) if row.rated else None},
    }
    for number, row in enumerate(rows)
  )


def _export(rows: Sequence[Answer]) -> str:
  file = io.StringIO()
  table = csv.writer(file, lineterminator="\n")
  table.writerow(("id", "created", "question", "answer", "thumb"))
  for number, row in enumerate(rows):
    thumb = ("up" if row.liked else "down") if row.rated else ""
    table.writerow((number, _time(number), row.question, row.answer, thumb))
  return file.getvalue()


def _score(rows: Sequence[Answer]) -> str:
  return inspect.getsource(score)


_TEXTS: dict[str, Callable[[Sequence[Answer]], str]] = {
  "thumbs.jsonl": _thumbs,
  "export.csv": _export,
  "chats.jsonl": _chats,
  "score.py": _score,
}


def _write_database(path: pathlib.Path, rows: Sequence[Answer]) -> None:
  try:
    with sqlite3.connect(path) as base:
      base.execute(
        "CREATE TABLE ratings (id INTEGER PRIMARY KEY, created TEXT, "
        "question TEXT, answer TEXT, stars INTEGER)"
      )
      base.executemany(
        "INSERT INTO ratings VALUES (?, ?, ?, ?, ?)",
        (
          (
            number,
            _time(number),
            row.question,
            row.answer,
            row.stars if row.rated else None,
          )
          for number, row in enumerate(rows)
        ),
      )
    base.close()
  except sqlite3.Error as error:
    raise OSError(str(error)) from error


def _lines(rows: Iterable[dict[str, object]]) -> str:
  return "".join(f"{json.dumps(row)}\n" for row in rows)


def _time(number: int) -> str:
  start = datetime.datetime(2025, 1, 1)
  return (start + datetime.timedelta(minutes=7 * number)).isoformat()
