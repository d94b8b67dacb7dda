"""sweep.json: the cells of a sweep, and what became of each."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from offalign.errors import UserError
from offalign.files import read_object, write_json
from offalign.sweeping.grid import Axis, Cell

FILE = "sweep.json"
"""In the folder of the sweep."""

State = Literal["waiting", "done", "failed", "diverged"]
"""Of a cell; "diverged" is not tried again, and "failed" is."""

_CURE = "; put the file back, or name another folder"


@dataclasses.dataclass(frozen=True)
class Measure:
  """How well a cell ranks held-out feedback.

  Attributes:
    name: "accuracy" of pairs, or "AUC" of thumbs.
    value: after the last step.
    error: its standard error over held-out rows.
  """

  name: str
  value: float
  error: float


@dataclasses.dataclass(frozen=True)
class Known:
  """What is known of a cell.

  Attributes:
    label: see `Cell`.
    seed: see `Cell`.
    config: the options as they were given, flat.
    state: what became of it.
    why: a sentence, of one that failed.
    measure: of one that is done; None where nothing is held out to rank.
  """

  label: str
  seed: int
  config: Mapping[str, Any]
  state: State = "waiting"
  why: str = ""
  measure: Measure | None = None


@dataclasses.dataclass
class Sweep:
  """A sweep's folder and its cells.

  Attributes:
    folder: of the sweep; each cell is a run in the folder of its name there.
    axes: what differs between the cells.
    seeds: how many there are, from 0.
    cells: those of the grid, by name, in its order.
    others: those of an earlier grid in this folder.
  """

  folder: pathlib.Path
  axes: tuple[Axis, ...]
  seeds: int
  cells: dict[str, Known]
  others: dict[str, Known] = dataclasses.field(default_factory=dict)

  @property
  def labels(self) -> list[str]:
    """The labels of the cells, each once."""
    return list(dict.fromkeys(cell.label for cell in self.cells.values()))

  @property
  def failed(self) -> dict[str, str]:
    """The cells that failed or diverged, and why."""
    return {
      name: cell.why
      for name, cell in self.cells.items()
      if cell.state in ("failed", "diverged")
    }

  @property
  def done(self) -> list[str]:
    """The names of the cells that are trained."""
    return [x for x, cell in self.cells.items() if cell.state == "done"]

  def note(self, name: str, **changes: Any) -> None:
    """Changes what is known of a cell, and writes the file.

    Raises:
      Unwritten: where it cannot be written.
    """
    self.cells[name] = dataclasses.replace(self.cells[name], **changes)
    self.write()

  def write(self) -> None:
    """Writes the file.

    Raises:
      Unwritten: where it cannot be written.
    """
    about = {
      "axes": [dataclasses.asdict(axis) for axis in self.axes],
      "seeds": self.seeds,
      "cells": {k: dataclasses.asdict(x) for k, x in self.cells.items()},
      "others": {k: dataclasses.asdict(x) for k, x in self.others.items()},
    }
    write_json(self.folder / FILE, about)


def read(folder: pathlib.Path) -> Sweep | None:
  """Reads the file of a folder; None where there is none.

  Raises:
    UserError: where it is not what a sweep writes.
  """
  path = folder / FILE
  if not path.exists():
    return None
  found = read_object(path, _CURE)
  try:
    return Sweep(
      folder,
      tuple(
        Axis(x["name"], x["option"], tuple(map(str, x["values"])))
        for x in found["axes"]
      ),
      int(found["seeds"]),
      {k: _known(x) for k, x in found["cells"].items()},
      {k: _known(x) for k, x in found["others"].items()},
    )
  except (KeyError, TypeError, ValueError, AttributeError):
    raise UserError(f"{path} is not what a sweep writes{_CURE}") from None


def begin(
  folder: pathlib.Path,
  axes: tuple[Axis, ...],
  cells: Mapping[str, tuple[Cell, Mapping[str, Any]]],
) -> Sweep:
  """The record of a sweep that begins or goes on; writes nothing.

  Args:
    folder: of the sweep.
    axes: what differs between the cells.
    cells: name -> the cell, and its options as they are given now.

  Raises:
    UserError: see `read`.
  """
  before = read(folder)
  known = {} if before is None else {**before.others, **before.cells}
  seeds = 1 + max(cell.seed for cell, _ in cells.values())
  found = {}
  for name, (cell, config) in cells.items():
    old = known.pop(name, None)
    fresh = Known(cell.label, cell.seed, config)
    found[name] = fresh if old is None else old
  return Sweep(folder, axes, seeds, found, known)


def _known(found: Mapping[str, Any]) -> Known:
  state = found["state"]
  if state not in get_args(State):
    raise ValueError(state)
  measure = found["measure"]
  return Known(
    str(found["label"]),
    int(found["seed"]),
    dict(found["config"]),
    state,
    str(found["why"]),
    None
    if measure is None
    else Measure(
      str(measure["name"]), float(measure["value"]), float(measure["error"])
    ),
  )
