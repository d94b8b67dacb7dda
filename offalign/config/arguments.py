"""A `Config` from the arguments of a Python call: groups as dicts, rows too."""

import dataclasses
import pathlib
import typing
from collections.abc import Mapping
from typing import Any

from offalign import spec
from offalign.config.config import Config
from offalign.config.data import DataConfig
from offalign.config.grow import Function, as_prompts
from offalign.data.reading import aspects
from offalign.data.reading.columns import as_text
from offalign.data.reading.memory import as_path
from offalign.errors import UserError, suggest

_HELD_OUT = "the held-out"


def read(arguments: Mapping[str, Any]) -> Config:
  """Builds the configuration of a run.

  Args:
    arguments: the fields of `Config`. A group (`data`, `value`, `lora`, `ptx`,
      `optimizer`, `mesh`, `select`, `grow`, `hosts`) is its dataclass or a
      dict of its fields; `data` may also be the training rows alone.
      `data.path`, `data.eval_path` and `ptx.path` take what `load_data` does,
      `grow.prompts` a list of prompts too, and `grow.score` a function.
      Paths, and a loss object, stand for their text.

  Raises:
    UserError: for an unknown name or a wrong type.
  """
  hints = typing.get_type_hints(Config)
  given: dict[str, Any] = {}
  for name, value in arguments.items():
    if name not in hints:
      raise UserError(_unknown(name, hints))
    group = _group(hints[name])
    if name == "data":
      given[name] = _data(value)
    elif name == "ptx" and isinstance(value, Mapping) and "path" in value:
      rows = as_path(value["path"], "the demonstrations'")
      given[name] = _made(name, group, {**value, "path": rows})
    elif name == "grow" and isinstance(value, Mapping):
      given[name] = _made(name, group, _grow(value))
    elif group is not None and isinstance(value, Mapping):
      given[name] = _made(name, group, value)
    else:
      given[name] = _text(name, value)
  return Config(**given)


def _group(hint: Any) -> Any:
  """The dataclass of a group of options; None for an option."""
  kinds = spec.alternatives(hint)
  return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)


def _unknown(name: str, hints: Mapping[str, Any]) -> str:
  for group, hint in hints.items():
    cls = _group(hint)
    if cls is not None and name in _fields(cls):
      return (
        f"{name!r} is an option of {group!r}: give "
        f"{group}={{{name!r}: ...}}"
        + (", with the rows as 'path'" if group == "data" else "")
      )
  return f"a run has no option {name!r}{suggest(name, hints)}"


def _fields(cls: Any) -> list[str]:
  return [field.name for field in dataclasses.fields(cls)]


def _made(group: str, cls: Any, fields: Mapping[str, Any]) -> Any:
  names = _fields(cls)
  for name in fields:
    if name not in names:
      raise UserError(
        f"{group!r} has no option {name!r}{suggest(name, names)} (its "
        f"options: {', '.join(names)})"
      )
  return cls(**{name: _text(name, value) for name, value in fields.items()})


def _data(value: Any) -> DataConfig:
  if isinstance(value, DataConfig):
    return value
  if not isinstance(value, Mapping):
    value = {"path": value}
  fields = dict(value)
  for name, prefix in (("path", "the"), ("eval_path", _HELD_OUT)):
    if fields.get(name) is not None:
      fields[name] = as_path(fields[name], prefix)
  if "columns" in fields:
    fields["columns"] = as_text(fields["columns"])
  for name in ("reward_weights", "reward_least"):
    if name in fields:
      fields[name] = aspects.as_text(fields[name])
  return typing.cast(DataConfig, _made("data", DataConfig, fields))


def _grow(fields: Mapping[str, Any]) -> dict[str, Any]:
  """Functions and lists of prompts, as texts that stand for them."""
  out = dict(fields)
  for name in ("score", "judge"):
    if callable(out.get(name)):
      out[name] = Function(out[name])
  if "prompts" in out:
    out["prompts"] = as_prompts(out["prompts"])
  return out


def _text(name: str, value: Any) -> Any:
  """A path, or a loss object, as text."""
  is_loss = name == "loss" and hasattr(value, "implicit_rewards")
  return str(value) if is_loss or isinstance(value, pathlib.Path) else value
