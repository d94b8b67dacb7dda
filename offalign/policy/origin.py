"""The Hugging Face model that a run started from, as its run folder keeps it.

RUN/model holds config.json and the tokenizer's files, so that the run can be
exported or started from when the original folder is gone, and origin.json:

  {"name": as the user gave it, "fingerprint": of its weights,
   "tied": whether its head is the embedding}
"""

import json
import shutil
from pathlib import Path

from jax.sharding import Mesh

from offalign import models
from offalign.errors import UserError
from offalign.files import read_object
from offalign.models import hf
from offalign.models.base import Model
from offalign.models.hf import hub
from offalign.models.hf.config_json import ignoring
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
  """Whether model names a folder or a model on the hub, not a spec."""
  if model in models.names():
    return False
  return "/" in model or Path(model).is_dir()


def spec(name: str) -> str:
  """The `Model.spec` of a folder or of a model on the hub."""
  return _PREFIX + name


def is_kept(model_spec: str) -> bool:
  """Whether a run's model came from a folder or the hub."""
  return model_spec.startswith(_PREFIX)


def load(
  name: str, mesh: Mesh, dtype: str = "float32", ignore: str | None = None
) -> tuple[Model, Params, str]:
  """Reads a model to start a run from.

  Args:
    name: a folder, or a name on the hub.
    mesh: the mesh to place the params on.
    dtype: dtype of the params; see `offalign.models.hf.checkpoint.load`.
    ignore: keys of its config.json to leave out of account, with commas.

  Returns:
    The model, its params, and a fingerprint of the weights.

  Raises:
    UserError: see `hub.find_folder` and `hf.load`.
  """
  folder = hub.find_folder(name)
  model, params = hf.load(
    folder, mesh=mesh, dtype=dtype, spec=spec(name), ignore=ignore
  )
  return model, params, f"{name}, weights {open_folder(folder).fingerprint}"


def keep(
  name: str,
  run: Path,
  *,
  tied: bool,
  tokenizer: bool,
  ignore: str | None = None,
) -> None:
  """Copies into a run folder what is needed to export the run.

  Args:
    name: a folder, or a name on the hub.
    run: the run folder.
    tied: whether the model's head is the embedding.
    tokenizer: whether the run also uses the model's tokenizer.
    ignore: keys of config.json that are left out of account, with commas;
      the copy of the file says which.
  """
  folder = hub.find_folder(name)
  about = {
    "name": name,
    "fingerprint": open_folder(folder).fingerprint,
    "tied": tied,
  }
  kept = run / FOLDER
  kept.mkdir(parents=True, exist_ok=True)
  if ignore is None:
    shutil.copyfile(folder / CONFIG, kept / CONFIG)
  else:
    config = ignoring(read_config(folder), ignore, str(folder / CONFIG))
    text = json.dumps(config, indent=2) + "\n"
    (kept / CONFIG).write_text(text, encoding="utf-8")
  copy_companions(folder, kept, tokenizer=tokenizer)
  (kept / _ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")


def describe(run: Path) -> Model:
  """Builds the model of a run that started from Hugging Face, no weights."""
  kept = run / FOLDER
  file = kept / _ABOUT
  if not file.is_file():
    raise UserError(f"{run} began with a Hugging Face model, but has no {file}")
  about = read_object(file)
  name, tied = about.get("name"), about.get("tied")
  if not isinstance(name, str) or not isinstance(tied, bool):
    raise UserError(
      f"{file} does not say which model the run began with: it needs 'name', "
      "text, and 'tied', true or false"
    )
  return hf.describe(
    read_config(kept),
    spec=spec(name),
    tied=tied,
    where=str(kept / CONFIG),
  )


def hand_on(parent: Path, run: Path) -> None:
  """Copies the kept Hugging Face model from a parent run to a run."""
  shutil.copytree(parent / FOLDER, run / FOLDER, dirs_exist_ok=True)
