"""Pipelines that train nothing, and flags of small ones."""

import json
import pathlib
from typing import ClassVar

import sweeps

from offalign.config.config import flat
from offalign.training.pipelines import recipes, stages

SHARED = {"data.path": "log.jsonl", "model": "decoder", "steps": 4}


ROWS = [
  {"prompt": f"p{i // 2}", "completion": "yes"[i % 2 :], "label": i % 2 == 0}
  for i in range(8)
]
"""A log of thumbs, from which every stage can read."""


def plan(name="rlhf", out="p", shared=None, **own):
  """The stages of a pipeline; options of one stage by its name."""
  given = SHARED | (shared or {})
  return stages.plan(recipes.get(name), out, given, own)


class FakeRun(sweeps.FakeRun):
  """Stands for `Run` in a pipeline; a stage's folder has run.json at the end.

  Attributes:
    asked: the configurations, in order.
    errors: name of a stage's folder -> what its training raises.
  """

  asked: ClassVar = []
  errors: ClassVar = {}

  def train(self, stop, *, verbose=True):
    super().train(stop, verbose=verbose)
    path = pathlib.Path(self.config.out) / "run.json"
    about = json.loads(path.read_text())
    known = {"config": flat(self.config), "loss": self.config.loss}
    path.write_text(json.dumps(about | known))


def fake(patch):
  """Has pipelines train nothing; returns the class."""
  patch.setattr(FakeRun, "asked", [])
  patch.setattr(FakeRun, "errors", {})
  patch.setattr("offalign.training.pipelines.run.Run", FakeRun)
  return FakeRun
