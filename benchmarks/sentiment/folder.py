"""The folder of results, and how a suite that was stopped finds its way."""

import dataclasses
import json
import pathlib
from typing import Any

from benchmarks.sentiment.sizes import Sizes
from offalign import leaderboard
from offalign.errors import UserError
from offalign.files import read_object, write_atomically, write_json
from offalign.leaderboard import Row

ROWS = "rows.jsonl"
SETTINGS = "settings.json"
WORK = "work"
"""Run folders and compiled programs: needed to go on, not to report."""
BASES = ("base-1", "base-2")
"""The two draws of the base model on the test openings."""


@dataclasses.dataclass(frozen=True)
class Completion:
  """A completion and its score.

  Attributes:
    prompt: the opening.
    completion: the text.
    reward: the score.
    finished: whether it ended by itself.
    tokens: how many it has.
    log_ratio: to the base model, in nats; None where it was not taken.
  """

  prompt: str
  completion: str
  reward: float
  finished: bool
  tokens: int
  log_ratio: float | None = None


@dataclasses.dataclass(frozen=True)
class Folder:
  """A folder of results.

  Attributes:
    path: the folder.
  """

  path: pathlib.Path

  @property
  def log(self) -> pathlib.Path:
    """The log of scored samples that every method is trained on."""
    return self.path / "log" / "train.jsonl"

  @property
  def held_out(self) -> pathlib.Path:
    """Scored samples of validation openings, for log-ratios."""
    return self.path / "log" / "held_out.jsonl"

  @property
  def work(self) -> pathlib.Path:
    """See `WORK`."""
    return self.path / WORK

  def begin(self, sizes: Sizes, command: str) -> None:
    """Makes the folder, or goes on in one of the same sizes.

    Raises:
      UserError: where it holds results of other sizes, or other files.
    """
    file = self.path / SETTINGS
    # As JSON has it: tuples are lists there.
    wanted = json.loads(json.dumps(dataclasses.asdict(sizes)))
    if file.exists():
      if read_object(file).get("sizes") != wanted:
        raise UserError(
          f"--out={self.path} holds results of other sizes or seeds: name "
          "another folder, or delete it"
        )
      return
    if self.path.is_dir() and any(self.path.iterdir()):
      raise UserError(
        f"--out={self.path} holds other files: name another folder"
      )
    self.work.mkdir(parents=True, exist_ok=True)
    write_json(file, {"command": command, "sizes": wanted})

  def settings(self) -> tuple[Sizes, str]:
    """The sizes and the command that the folder was begun with.

    Raises:
      UserError: where it holds none.
    """
    found = read_object(self.path / SETTINGS, "; is it the suite's folder?")
    sizes: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in found["sizes"].items()
    }
    return Sizes(**sizes), str(found["command"])

  def completions(self, name: str) -> pathlib.Path:
    """The file of a policy's completions."""
    return self.path / "completions" / f"{name}.jsonl"

  def rows(self, sweep: bool = False) -> list[Row]:
    """The rows so far, in the order in which they were made."""
    folder = self.path / "sweep" if sweep else self.path
    return leaderboard.read(folder)[0] if folder.is_dir() else []

  def add(self, row: Row, sweep: bool = False) -> None:
    """Appends a row."""
    folder = self.path / "sweep" if sweep else self.path
    leaderboard.append(folder / ROWS, row)


def write(path: pathlib.Path, found: list[Completion]) -> None:
  """Writes completions, a line of JSON each; whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(path, "".join(f"{_line(each)}\n" for each in found))


def read(path: pathlib.Path) -> list[Completion]:
  """Reads what `write` wrote."""
  text = path.read_text(encoding="utf-8")
  return [Completion(**json.loads(line)) for line in text.splitlines()]


def _line(each: Completion) -> str:
  fields: dict[str, Any] = dataclasses.asdict(each)
  if each.log_ratio is None:
    del fields["log_ratio"]
  return json.dumps(fields)
