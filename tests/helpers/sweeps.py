"""Sweeps of which no cell was trained, and a run that trains nothing."""

import json
import pathlib
from typing import ClassVar

import comparisons

from offalign.config.config import flat
from offalign.sweeping import grid, record
from offalign.sweeping.record import Measure

GOOD = ["ccc", "cccc", "cc", "cccc"]
"""Completions that the judge of `comparisons`, length, prefers."""


def sweep(folder="sweep", seeds=2, loss="dro_v(tau={0.3,1})", measure=None):
  """A sweep all of whose cells are done."""
  axes, cells = grid.make(grid.read({"loss": loss}), seeds)
  planned = {cell.name: (cell, {"loss": loss}) for cell in cells}
  made = record.begin(pathlib.Path(folder), axes, planned)
  for name in made.cells:
    known = made.cells[name]
    made.cells[name] = record.Known(
      known.label, known.seed, known.config, "done", "", measure
    )
  return made


def accuracy(value=0.75, error=0.05):
  return Measure("accuracy", value, error)


def judged(made, texts=None, start=True):
  """A comparison of the cells with the start, and their entries."""
  texts = texts or dict.fromkeys(made.cells, GOOD)
  first = {"sft": ["b", "bb", "b", ""]} if start else {}
  found = comparisons.comparison({"sft": first.get("sft"), **texts})
  return found, {entry.name: entry for entry in found.others}


class FakeRun:
  """Stands for `Run` in a sweep: notes what it is asked for.

  Attributes:
    asked: the configurations, in order.
    errors: name of a cell -> what its training raises.
  """

  asked: ClassVar = []
  errors: ClassVar = {}

  def __init__(self, config):
    self.config = config
    self.folder = pathlib.Path(config.out)
    self.held_out, self.pairs, self.auc = {}, None, None
    self.asked.append(config)

  def train(self, stop, *, verbose=True):
    stop.check()
    self.folder.mkdir(parents=True, exist_ok=True)
    about = {
      "config": flat(self.config),
      "model": "tiny",
      "vocab_size": 5,
      "tokenizer": "bytes",
      "start": "new",
      "data": "some",
    }
    (self.folder / "run.json").write_text(json.dumps(about))
    error = self.errors.get(self.folder.name)
    if error is not None:
      raise error

  @classmethod
  def names(cls):
    """The cells that were asked for since the last call."""
    found = [pathlib.Path(config.out).name for config in cls.asked]
    cls.asked.clear()
    return found


def fake(patch):
  """Has sweeps train nothing; returns the class."""
  patch.setattr(FakeRun, "asked", [])
  patch.setattr(FakeRun, "errors", {})
  patch.setattr("offalign.training.sweep.Run", FakeRun)
  return FakeRun
