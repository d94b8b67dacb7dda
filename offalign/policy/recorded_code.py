"""Whether the code is there that a run folder was trained with.

A run folder is data: opening one imports nothing because the folder names it.
The loss or the model must be known to this process already, because the user
imported the module that registers it, or it is installed.
"""

import pathlib
import sys
from typing import Any

from offalign import losses, models, spec, user_code
from offalign.errors import UserError, option
from offalign.policy import origin


def check_loss(folder: pathlib.Path, about: dict[str, Any]) -> None:
  """Checks that the losses of a run are known here.

  Args:
    folder: the run folder.
    about: its run.json.

  Raises:
    UserError: naming the modules to import.
  """
  terms = [term for _, term in spec.split_sum(str(about["loss"]))]
  names = [spec.parse(term)[0] for term in terms]
  _check(folder, about, "loss", names, losses.names())


def check_model(folder: pathlib.Path, about: dict[str, Any]) -> None:
  """Checks that the model of a run is known here.

  Args:
    folder: the run folder.
    about: its run.json.

  Raises:
    UserError: naming the modules to import.
  """
  # LoRA's frozen weights are made by what the flags said.
  given = (about["config"] or {}).get("model")
  for model in (about["model"], given):
    if not model or origin.is_kept(model) or origin.is_named(model):
      continue
    try:
      name, _ = spec.parse(model, what="model")
    except UserError:
      continue  # nothing will read it either
    if model == about["model"] or spec.split_module(name)[0]:
      _check(folder, about, "model", [name], models.names())


def _check(
  folder: pathlib.Path,
  about: dict[str, Any],
  what: str,
  names: list[str],
  registered: list[str],
) -> None:
  config = about["config"] or {}
  wanted = user_code.names(config.get("imports"))
  for name in names:
    module, plain = spec.split_module(name)
    if module in sys.modules if module else plain in registered:
      continue
    modules = ",".join(dict.fromkeys([*wanted, *([module] if module else [])]))
    if not modules:
      raise UserError(
        f"{folder} was trained with the {what} {plain!r}, which nothing here "
        "registers: name the module that does, "
        f"{option('imports', 'MODULE')}"
      )
    raise UserError(
      f"{folder} was trained with the {what} {plain!r} of {modules}, and a run "
      "folder has no code imported: if you trust it, give "
      f"{option('imports', modules)}"
    )
