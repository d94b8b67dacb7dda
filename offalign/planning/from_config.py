"""Build the model of a plan from a config.json, without weights."""

from pathlib import Path
from typing import Any

from offalign.errors import UserError, option
from offalign.models import hf
from offalign.models.base import Model
from offalign.models.hf.config_json import ignoring
from offalign.models.hf.folder import CONFIG, read_config
from offalign.planning.shapes import SHAPES


def model_of(name: str, ignore: str | None = None) -> Model:
  """Builds a model without weights.

  Args:
    name: a folder, a config.json, a name in `SHAPES`, or a name on the hub.
    ignore: keys of its config.json to leave out of account, with commas.

  Raises:
    UserError: where `name` is none of these, or the architecture is not
      implemented.
  """
  config, where = _config(name)
  config = ignoring(config, ignore, where)
  tied = bool(config.get("tie_word_embeddings", True))
  return hf.describe(config, spec=f"hf:{name}", tied=tied, where=where)


def _config(name: str) -> tuple[dict[str, Any], str]:
  """Reads a config.json; also says where it is from, for error messages."""
  path = Path(name).expanduser()
  if path.is_dir():
    return read_config(path), str(path / CONFIG)
  if path.is_file():
    if path.name != CONFIG:
      raise UserError(
        f"{option('model', name)}: of files, only a {CONFIG} says what a model "
        "is"
      )
    return read_config(path.parent), str(path)
  if name in SHAPES:
    return SHAPES[name], name
  if name.count("/") != 1 or name.endswith(".json"):
    raise UserError(
      f"{option('model', name)}: there is no such folder or {CONFIG}, and a "
      "name on the Hugging Face hub is org/name"
    )
  return read_config(_download(name).parent), name


def _download(name: str) -> Path:
  # Imported here: it costs a moment, and folders do without it.
  import huggingface_hub

  try:
    return Path(huggingface_hub.hf_hub_download(name, CONFIG))
  except (OSError, ValueError) as error:
    # Being offline, refused and mistaken are all errors of these kinds.
    reason = str(error).strip().splitlines() or [type(error).__name__]
    raise UserError(
      f"{option('model', name)}: its {CONFIG} cannot be had from the Hugging "
      f"Face hub ({reason[0].rstrip('.')}); give the file, or one of the "
      f"models that need no network ({', '.join(SHAPES)})"
    ) from None
