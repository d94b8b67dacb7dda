"""What an endpoint answered, kept on disk so that it is never asked twice."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class Answer:
  """One answer.

  Attributes:
    text: what was said.
    refused: whether the endpoint declined to answer.
    prompt_tokens: what it counted, and bills; 0 where it does not say.
    completion_tokens: likewise.
  """

  text: str
  refused: bool
  prompt_tokens: int
  completion_tokens: int


def key_of(url: str, body: dict[str, Any]) -> str:
  """A hash of everything that the answer depends on.

  Args:
    url: of the endpoint; two may serve other models under one name.
    body: of the request: model, messages with the texts, and how to decode.
  """
  content = json.dumps([url, body], sort_keys=True, ensure_ascii=False)
  return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


class Answers:
  """A file of answers by `key_of`; without a path, it lives in memory.

  Each is there as soon as `put` returns, so a process that is killed has lost
  none; several may share the file.
  """

  def __init__(self, path: str | pathlib.Path | None):
    """Touches no file before one is asked for."""
    self._path = path
    self._lock = threading.Lock()

  @functools.cached_property
  def _file(self) -> sqlite3.Connection:
    """The file, made where there is none."""
    if self._path is not None:
      pathlib.Path(self._path).parent.mkdir(parents=True, exist_ok=True)
      pathlib.Path(self._path).touch(mode=0o600)
    path = ":memory:" if self._path is None else self._path
    file = sqlite3.connect(path, timeout=60, check_same_thread=False)
    file.execute(
      "create table if not exists answers (key text primary key, text text,"
      " refused integer, prompt_tokens integer, completion_tokens integer)"
    )
    file.commit()
    return file

  def get(self, key: str) -> Answer | None:
    """The answer, if there is one.

    Raises:
      UserError: where the file is of another kind, or cannot be written.
    """
    with self._lock, self._complaining():
      row = self._file.execute(
        "select text, refused, prompt_tokens, completion_tokens from answers"
        " where key = ?",
        (key,),
      ).fetchone()
    return None if row is None else Answer(row[0], bool(row[1]), *row[2:])

  def put(self, key: str, answer: Answer) -> None:
    """Keeps an answer."""
    with self._lock, self._complaining():
      self._file.execute(
        "insert or replace into answers values (?, ?, ?, ?, ?)",
        (key, *dataclasses.astuple(answer)),
      )
      self._file.commit()

  def close(self) -> None:
    """Closes the file."""
    with self._lock:
      if "_file" in vars(self):
        self._file.close()

  @contextlib.contextmanager
  def _complaining(self) -> Iterator[None]:
    try:
      yield
    except (sqlite3.Error, OSError) as error:
      raise UserError(
        f"{self._path} cannot serve as a cache of answers ({error}); name "
        "another file, or delete it and pay for its answers again"
      ) from error
