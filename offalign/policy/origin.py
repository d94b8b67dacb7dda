"""The Hugging Face model that a run began with, as its run folder keeps it.

RUN/model holds config.json and the tokenizer's files, so that the run can be
exported, or started from, when the original folder is gone; and origin.json:

  {"name": as the user gave it, "fingerprint": of its weights,
   "tied": whether its head is the embedding}
"""

import json
import shutil
from pathlib import Path

from jax.sharding import Mesh

from offalign import models
from offalign.errors import UserError
from offalign.models import hf
from offalign.models.base import Model
from offalign.models.hf import hub
from offalign.models.hf.folder import (
  CONFIG,
  copy_companions,
  open_folder,
  read_config,
)
from offalign.types import Params

FOLDER = "model"
_ABOUT = "origin.json"
_PREFIX = "hf:"


def is_named(model: str) -> bool:
  """Whether --cfg.model names a folder or a hub's model, and is no spec."""
  if model in models.names():
    return False
  return "/" in model or Path(model).is_dir()


def spec(name: str) -> str:
  """What `Model.spec` is for a folder or a hub's model."""
  return _PREFIX + name


def is_kept(model_spec: str) -> bool:
  """Whether a run's model came from a folder or the hub."""
  return model_spec.startswith(_PREFIX)


def load(
  name: str, mesh: Mesh, dtype: str = "float32"
) -> tuple[Model, Params, str]:
  """Reads a model to start a run from.

  Args:
    name: a folder, or a name on the hub.
    mesh: where the params go.
    dtype: of the params; see `hf.load`.

  Returns:
    The model, its params, and what names its weights.

  Raises:
    UserError: see `hub.find_folder` and `hf.load`.
  """
  folder = hub.find_folder(name)
  model, params = hf.load(folder, mesh=mesh, dtype=dtype, spec=spec(name))
  return model, params, f"{name}, weights {open_folder(folder).fingerprint}"


def keep(name: str, run: Path, *, tied: bool, tokenizer: bool) -> None:
  """Keeps in a run folder what is needed to export the run.

  Args:
    name: as for `load`.
    run: the run folder.
    tied: whether the model's head is the embedding.
    tokenizer: whether the run uses the tokenizer beside the model too.
  """
  folder = hub.find_folder(name)
  about = {
    "name": name,
    "fingerprint": open_folder(folder).fingerprint,
    "tied": tied,
  }
  kept = run / FOLDER
  kept.mkdir(parents=True, exist_ok=True)
  shutil.copyfile(folder / CONFIG, kept / CONFIG)
  copy_companions(folder, kept, tokenizer=tokenizer)
  (kept / _ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")


def describe(run: Path) -> Model:
  """The model of a run that began with one, without weights."""
  kept = run / FOLDER
  file = kept / _ABOUT
  if not file.is_file():
    raise UserError(f"{run} began with a Hugging Face model, but has no {file}")
  about = json.loads(file.read_text(encoding="utf-8"))
  return hf.describe(
    read_config(kept),
    spec=spec(about["name"]),
    tied=about["tied"],
    where=str(kept / CONFIG),
  )


def hand_on(parent: Path, run: Path) -> None:
  """Gives a run what its parent keeps."""
  shutil.copytree(parent / FOLDER, run / FOLDER, dirs_exist_ok=True)
