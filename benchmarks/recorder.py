"""Writes rows as they come, and the facts about the run beside them."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import tqdm

from offalign import leaderboard, losses
from offalign.errors import UserError
from offalign.files import write_json

SCALE = (
  "Everything here is synthetic and small: a bandit of 32 prompts and 10 "
  "arms (theory), and models of about 60 thousand parameters that copy, "
  "reverse or sort up to five letters, judged by a program (ops). It says "
  "how the losses behave on equal footing. It does not say which would win "
  "on a large model with human judges."
)


class Recorder:
  """One folder of results.

  Attributes:
    folder: where rows.jsonl and meta.json are written.
  """

  def __init__(
    self, folder: str, command: str, cells: int, *, resume: bool = False
  ):
    """Makes the folder and the progress bar.

    Args:
      folder: where to.
      command: for the report.
      cells: runs, for the bar.
      resume: True to go on with the rows that the folder holds.

    Raises:
      UserError: where the folder holds rows already and is not to be resumed.
    """
    self.folder = pathlib.Path(folder)
    held = any(self.folder.glob("*.jsonl"))
    if held and not resume:
      raise UserError(
        f"--out={folder} holds the rows of another run: name another folder, "
        "or delete it"
      )
    rows = leaderboard.read(folder)[0] if held else []
    self._held = {(*row.group, row.label, row.seed) for row in rows}
    self.folder.mkdir(parents=True, exist_ok=True)
    self._command = command
    self._bar = tqdm.tqdm(total=cells, unit="run", dynamic_ncols=True)
    self._oracle: dict[str, list[dict[str, Any]]] = {}
    self.notes: list[str] = []
    self.scale = SCALE

  def doing(self, text: str) -> None:
    """Says what is under way."""
    self._bar.set_description_str(text)

  def passed(self) -> None:
    """Moves the bar by a run that leaves no row."""
    self._bar.update()

  def holds(
    self, *, track: str, scenario: str, model: str, label: str, seed: int
  ) -> bool:
    """Whether there is such a row, of this start or of an earlier one."""
    return (track, scenario, model, label, seed) in self._held

  def add(self, **fields: Any) -> None:
    """Appends one row; see `offalign.leaderboard.rows.Row`."""
    where = _where()
    loss = str(losses.get(fields.pop("loss")))
    row = leaderboard.Row(
      loss=loss, **fields, versions=where[0], revision=where[1]
    )
    leaderboard.append(self.folder / "rows.jsonl", row)
    self._held.add((*row.group, row.label, row.seed))
    self._bar.update(not row.control)

  def oracle(self, key: str, points: list[dict[str, Any]]) -> None:
    """Reference points of a track/scenario/model."""
    self._oracle[key] = points

  @property
  def points(self) -> dict[str, list[dict[str, Any]]]:
    """The reference points, as meta.json will have them."""
    return dict(self._oracle)

  def finish(self, verdicts: list[str]) -> None:
    """Writes meta.json."""
    write_json(
      self.folder / "meta.json",
      {
        "title": "Offline alignment methods at equal completions and updates",
        "scale": self.scale,
        "command": self._command,
        "notes": self.notes,
        "verdicts": verdicts,
        "oracle": self._oracle,
      },
    )
    self._bar.close()


@functools.cache
def _where() -> tuple[dict[str, str], str]:
  device = jax.devices()[0].device_kind
  return leaderboard.environment(device), leaderboard.revision()


@contextlib.contextmanager
def quiet_failure(errors: list[str]) -> Iterator[None]:
  """Turns a failing run into a sentence; the others go on."""
  try:
    yield
  except Exception as error:
    text = f"{type(error).__name__}: {error}"
    errors.append(" ".join(text.split()))
