"""Checks of what a run folder's JSON files say, before anything reads them.

A run writes these files, and only a damaged or an edited one says something
else. Each value is checked against the type of what wrote it, so that a wrong
one is named where it stands.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from offalign import spec
from offalign.config import Config
from offalign.errors import UserError

_LARGEST = 2**63 - 1
_LARGEST_VOCABULARY = 2**31 - 1
_RECORDED: dict[str, Any] = {
  "config": dict,
  "model": str,
  "vocab_size": int,
  "tokenizer": str,
  "start": str,
  "data": str,
}
_CONFIG = ("init", "model", "seed")
"""Options that every version has recorded, and that are read again."""

_MAY_LACK: dict[str, Any] = {
  "loss": str,
  "mixture": dict | None,
  "reference": str,
  "reward_scale": dict | None,
}
_COST: dict[str, Any] = {
  "step": int,
  "completions": int,
  "positions": int,
  "tokens": int,
  "seconds": dict,
  "peak_memory_mb": float,
  "versions": dict,
  "revision": str,
}
_WORDS = {
  dict: "a JSON object",
  str: "text",
  int: "a whole number",
  float: "a number",
  bool: "true or false",
  type(None): "null",
}


def check_about(about: Mapping[str, Any], where: str) -> None:
  """Checks a run.json.

  Args:
    about: what the file holds.
    where: its name, for errors.

  Raises:
    UserError: for a key that is missing, or a value of another type.
  """
  for key, kind in _RECORDED.items():
    if key not in about:
      raise UserError(f"{where} has no {key!r}; is it a run's?")
    _check(about, key, kind, where)
  for key, kind in _MAY_LACK.items():
    if key in about:
      _check(about, key, kind, where)
  if not 0 < about["vocab_size"] <= _LARGEST_VOCABULARY:
    raise UserError(
      f"{where}: 'vocab_size' is {about['vocab_size']}, which no run has; put "
      "the file back"
    )
  config, options = about["config"], dict(_options())
  for key, kind in options.items():
    if key in config:
      _check(config, key, kind, f"{where}, config")
  needed = [
    *_CONFIG,
    *(k for k in options if "value.network" in config and "value." in k[:6]),
    *(k for k in options if "lora.rank" in config and "lora." in k[:5]),
  ]
  for key in needed:
    if key not in config:
      raise UserError(
        f"{where}, config has no {key!r}, which every run has; put the file "
        "back"
      )


def check_metrics(line: Mapping[str, Any], where: str, cure: str = "") -> None:
  """Checks a line of metrics.jsonl.

  Args:
    line: what the line holds.
    where: names it, for errors.
    cure: what to do; put at the end of the sentence.

  Raises:
    UserError: for a line without a step, or a value that is no number.
  """
  if "step" not in line:
    raise UserError(f"{where} has no 'step'{cure}")
  for key in line:
    _check(line, key, int if key == "step" else float, where, cure)


def check_cost(cost: Mapping[str, Any], where: str, cure: str = "") -> None:
  """Checks a cost.json.

  Args:
    cost: what the file holds.
    where: its name, for errors.
    cure: what to do; put at the end of the sentence.

  Raises:
    UserError: for a key that is missing, or a value of another type.
  """
  for key, kind in _COST.items():
    if key not in cost:
      raise UserError(f"{where} has no {key!r}{cure}")
    _check(cost, key, kind, where, cure)
  if "compile_seconds" in cost:  # an earlier version did not count them
    _check(cost, "compile_seconds", float, where, cure)
  if cost["seconds"].keys() != {"wall", "cpu"}:
    raise UserError(
      f"{where}: 'seconds' has not exactly 'wall' and 'cpu'{cure}"
    )
  for key in cost["seconds"]:
    _check(cost["seconds"], key, float, f"{where}, seconds", cure)


def _check(
  values: Mapping[str, Any],
  key: str,
  hint: Any,
  where: str,
  cure: str = "; put the file back",
) -> None:
  value, kinds = values[key], spec.alternatives(hint)
  if any(_fits(value, kind) for kind in kinds):
    return
  wanted = " or ".join(dict.fromkeys(_WORDS[kind] for kind in kinds))
  raise UserError(
    f"{where}: {key!r:.80} is {value!r:.80}, where {wanted} belongs{cure}"
  )


def _fits(value: Any, kind: Any) -> bool:
  if isinstance(value, bool):
    return kind is bool
  if kind not in (int, float):
    return isinstance(value, kind)
  if isinstance(value, int):
    return abs(value) <= _LARGEST
  return kind is float and isinstance(value, float)


def _options() -> Iterator[tuple[str, Any]]:
  """The options of a run as run.json has them -> what JSON holds them."""
  for name, hint in typing.get_type_hints(Config).items():
    groups = [k for k in spec.alternatives(hint) if dataclasses.is_dataclass(k)]
    if groups:
      yield name, type(None)  # a group that is not given
    for group in groups:
      for inner, kind in typing.get_type_hints(group).items():
        yield from _option(f"{name}.{inner}", kind)
    if not groups:
      yield from _option(name, hint)


def _option(name: str, hint: Any) -> Iterator[tuple[str, Any]]:
  """Nothing for an option that JSON holds in some form of its own."""
  kinds = [
    str if typing.get_origin(kind) is typing.Literal else kind
    for kind in spec.alternatives(hint)
  ]
  if all(kind in _WORDS for kind in kinds):
    yield name, typing.Union[tuple(kinds)]  # noqa: UP007
