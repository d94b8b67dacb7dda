"""Find a model by its folder or by its name on the Hugging Face hub."""

import functools
import re
from pathlib import Path

from offalign.errors import UserError
from offalign.models.hf.folder import (
  COMPANIONS,
  CONFIG,
  INDEX,
  MORE_TEMPLATES,
  SINGLE,
)

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@functools.cache
def find_folder(name: str) -> Path:
  """Finds a model's folder; downloads the model if there is no such folder.

  A folder never touches the network. From the hub, only safetensors,
  config.json and the tokenizer's files are downloaded.

  Args:
    name: a folder, or org/name on the hub if there is no such folder.

  Raises:
    UserError: if there is neither, or the hub cannot be reached.
  """
  folder = Path(name).expanduser()
  if folder.is_dir():
    return folder
  if folder.exists():
    raise UserError(f"{name} is a file: name the folder that it is in")
  if not _NAME.fullmatch(name):
    raise UserError(f"there is no model folder {name!r}")
  return _download(name)


def _download(name: str) -> Path:
  # Imported here: it costs a moment, and folders do without it.
  import huggingface_hub

  try:
    return Path(
      huggingface_hub.snapshot_download(
        name,
        allow_patterns=[
          CONFIG,
          SINGLE,
          INDEX,
          "model-*-of-*.safetensors",
          *COMPANIONS,
          f"{MORE_TEMPLATES}/*.jinja",
        ],
      )
    )
  except (OSError, ValueError) as error:
    # Being offline, refused and mistaken are all errors of these kinds.
    reason = str(error).strip().splitlines() or [type(error).__name__]
    raise UserError(
      f"{name!r} is no folder here, and cannot be had from the Hugging Face "
      f"hub ({reason[0]}); download it where there is a network, and give its "
      "folder"
    ) from None
