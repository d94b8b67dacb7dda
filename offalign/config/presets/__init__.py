"""Presets: files of flags that --cfg=presets/NAME puts before all others.

A preset is a TOML file in this folder whose keys are the fields of
`offalign.config.Config`; a flag given on the command line, before or after
--cfg, replaces the preset's.
"""

import pathlib
import tomllib
from collections.abc import Sequence
from typing import Any

from offalign.errors import UserError, concerning, suggest

_FOLDER = pathlib.Path(__file__).parent
_PREFIX = "presets/"


def names() -> list[str]:
  """All presets, as --cfg takes them."""
  return sorted(f"{_PREFIX}{path.stem}" for path in _FOLDER.glob("*.toml"))


def flags(name: str) -> list[str]:
  """The flags of a preset.

  >>> flags("presets/kto_t5_large_ultrafeedback")[0]
  '--cfg.loss=kto(beta=5.0, threshold=batch)'

  Args:
    name: one of `names()`.

  Raises:
    UserError: for another name.
  """
  if name not in names():
    given = name.removeprefix(_PREFIX)
    near = suggest(f"{_PREFIX}{given}", names())
    raise UserError(
      f"there is no such preset{near} (presets: {', '.join(names())})"
    )
  path = _FOLDER / f"{name.removeprefix(_PREFIX)}.toml"
  try:
    return _flags(tomllib.loads(path.read_text("utf-8")), "cfg")
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"{path} is no TOML of flags: {error}") from None


def expand(argv: Sequence[str]) -> list[str]:
  """Puts a preset's flags in place of --cfg=NAME, before all others.

  Args:
    argv: the program and its arguments.

  Raises:
    UserError: for an unknown preset, or more than one.
  """
  chosen: list[str] = []
  rest: list[str] = []
  given = iter(argv[1:])
  for arg in given:
    if arg == "--":
      rest += [arg, *given]
      break
    name, equals, value = arg.partition("=")
    if name not in ("--cfg", "-cfg"):
      rest.append(arg)
      continue
    chosen.append(value if equals else next(given, ""))
  if len(chosen) > 1:
    raise UserError(f"--cfg names {len(chosen)} presets; give one")
  preset: list[str] = []
  for name in chosen:
    with concerning(f"--cfg={name}"):
      preset = flags(name)
  return [argv[0], *preset, *rest]


def _flags(table: dict[str, Any], prefix: str) -> list[str]:
  out = []
  for key, value in table.items():
    name = f"{prefix}.{key}"
    if isinstance(value, dict):
      out += _flags(value, name)
    elif isinstance(value, bool):
      out.append(f"--{name}={str(value).lower()}")
    else:
      out.append(f"--{name}={value}")
  return out
