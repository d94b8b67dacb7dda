"""Import code of the user's: a module by its name, and installed plugins.

A module is imported where the user asks for it: by an option, by a spec
string such as `my_losses:huber`, or in Python. What a *file* names, a run
folder or a row of data, is never imported for that; see
`offalign.policy.recorded_code`.
"""

import importlib
import importlib.metadata
import os
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from offalign.errors import UserError, concerning, option, suggest


def load(name: str) -> types.ModuleType:
  """Imports a module, from the current folder too, as `python -m` does.

  Args:
    name: dotted, e.g. "my_losses" or "package.module".

  Raises:
    UserError: where there is no such module, or importing it raises.
  """
  if not all(part.isidentifier() for part in name.split(".")):
    raise UserError(
      f"{name!r} is no name of a module: write it like my_module or "
      "package.module"
    )
  include_here()
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as error:
    if error.name and f"{name}.".startswith(f"{error.name}."):
      raise UserError(
        f"there is no module {error.name!r}, neither in {os.getcwd()} nor "
        "installed"
      ) from error
    raise UserError(_raised(name, error)) from error
  except Exception as error:  # whatever the user's code raises
    raise UserError(_raised(name, error)) from error


def include_here() -> None:
  """Puts the current folder last on the path, as `python -m` has it first."""
  here = os.getcwd()
  if not {"", here} & set(sys.path):
    sys.path.append(here)  # installed commands do not have it by themselves
  importlib.invalidate_caches()  # a file may be a second old


def load_registered(
  module: str,
  what: str,
  name: str,
  registry: Callable[[], Mapping[str, Sequence[Any]]],
) -> None:
  """Imports a module, and checks that it registers what is asked for.

  Args:
    module: see `load`.
    what: "loss" or "model"; for the errors.
    name: of the loss or model.
    registry: returns name -> the functions and classes behind it, once the
      module is imported.

  Raises:
    UserError: for a module that cannot be imported, or registers no such
      name; lists those that it registers.
  """
  try:
    loaded = load(module)
  except UserError as error:
    raise UserError(f"{what} '{module}:{name}': {error}") from error
  theirs = [
    key
    for key, parts in registry().items()
    if any(belongs(part, loaded) for part in parts)
  ]
  if name not in theirs:
    raise UserError(
      f"module {module!r} registers no {what} {name!r}{suggest(name, theirs)} "
      f"(it registers: {', '.join(sorted(theirs)) or 'none'})"
    )


def load_all(imports: str | None) -> None:
  """Imports the modules of the option `imports`.

  Args:
    imports: names, with commas; None or "" for none.

  Raises:
    UserError: see `load`; it names the option.
  """
  for name in names(imports):
    with concerning(option("imports", name)):
      load(name)


def names(imports: str | None) -> list[str]:
  """The names in the option `imports`.

  >>> names("my_losses, my_models")
  ['my_losses', 'my_models']
  """
  parts = [part.strip() for part in (imports or "").split(",")]
  return [part for part in parts if part] if imports else []


def load_plugins(group: str, what: str) -> None:
  """Imports what installed packages declare; a broken one only warns.

  Args:
    group: of entry points.
    what: they bring, e.g. "losses"; for the warning.
  """
  for point in importlib.metadata.entry_points(group=group):
    try:
      point.load()
    except Exception as error:  # one broken plugin must not hide the rest
      warnings.warn(
        f"the {what} of {point.value!r} could not be loaded: {error}",
        stacklevel=4,
      )


def is_redefined(old: Any, new: Any) -> bool:
  """Whether two functions or classes are one definition that ran twice.

  As a notebook's cell does, or a module that is reloaded.
  """
  before, after = _place(old), _place(new)
  return None not in before and before == after


def belongs(thing: Any, module: types.ModuleType) -> bool:
  """Whether a module defines or holds a function or class."""
  where = str(getattr(thing, "__module__", ""))
  inside = f"{where}.".startswith(f"{module.__name__}.")
  return inside or any(held is thing for held in vars(module).values())


def _place(thing: Any) -> tuple[str | None, str | None]:
  return (
    getattr(thing, "__module__", None),
    getattr(thing, "__qualname__", None),
  )


def _raised(name: str, error: Exception) -> str:
  """What went wrong in a module, and in which line of it."""
  kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
  text = f"importing {name} raised {kind}{error}"
  frames = traceback.extract_tb(error.__traceback__)
  of_user = [f for f in frames if not _is_machinery(f.filename)]
  if of_user and not isinstance(error, SyntaxError):
    last = of_user[-1]
    text += f" ({os.path.basename(last.filename)}, line {last.lineno})"
  return text


def _is_machinery(filename: str) -> bool:
  """Whether a line of a traceback is Python's own, or this library's."""
  ours = os.path.dirname(os.path.abspath(__file__))
  return filename.startswith(("<frozen", os.path.dirname(os.__file__), ours))
