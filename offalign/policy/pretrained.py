"""Policies that no run trained: model folders, and names on the hub."""

import pathlib
from typing import Any

from offalign.data import Tokenizer
from offalign.distributed import sharding
from offalign.errors import UserError, option
from offalign.models.base import Model
from offalign.models.hf import hub
from offalign.models.hf.folder import CONFIG
from offalign.policy import origin
from offalign.policy.folder import ABOUT
from offalign.types import Params

KEY = "pretrained"
"""Key of what stands for the run.json of such a policy; its value: the name."""


def is_one(name: str | pathlib.Path) -> bool:
  """Whether a name is of a model folder, or on the hub, and of no run."""
  folder = pathlib.Path(name).expanduser()
  if folder.is_dir():
    return (folder / CONFIG).is_file() and not (folder / ABOUT).exists()
  named = str(name)
  return not folder.exists() and named.count("/") == 1 and named[0] not in "./~"


def about(name: str | pathlib.Path, step: str | int) -> dict[str, Any]:
  """What stands for the run.json.

  Args:
    name: a model folder, or a name on the hub.
    step: of the checkpoint that was asked for.

  Raises:
    UserError: where there is no such model, or a step was named.
  """
  if step != "newest":
    raise UserError(
      f"{option('step', step)} is of a run's checkpoints, and {name} is a "
      "model folder; leave it out"
    )
  hub.find_folder(str(name))
  return {KEY: str(name), "model": origin.spec(str(name)), "config": {}}


def load(about: dict[str, Any]) -> tuple[Model, Params]:
  """Reads the model, on the first device, in float32.

  Raises:
    UserError: see `offalign.models.hf.checkpoint.load`.
  """
  model, params, _ = origin.load(about[KEY], sharding.one_device())
  return model, params


def tokenizer(about: dict[str, Any]) -> Tokenizer:
  """Reads the tokenizer in the model folder.

  Raises:
    UserError: where there is none that can be used.
  """
  return Tokenizer.load(hub.find_folder(about[KEY]))


def refuse(about: dict[str, Any], what_for: str) -> None:
  """Refuses what only a run has.

  Args:
    about: the run.json, or what stands for it.
    what_for: what was asked for, such as "a row of a leaderboard".

  Raises:
    UserError: where it is no run's.
  """
  if KEY in about:
    raise UserError(
      f"{about[KEY]} is a model folder and no run, so there is no {what_for}"
    )
