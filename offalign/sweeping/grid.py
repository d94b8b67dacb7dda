"""The grid of a sweep: the product of its axes, times the seeds."""

import collections
import dataclasses
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from offalign.errors import UserError, concerning, option
from offalign.sweeping import braces
from offalign.sweeping.braces import Piece

_NAMED = re.compile(r"([A-Za-z_]\w*)\s*=\s*$")  # what a brace is the value of
_LONGEST = 100  # characters of a folder's name, less the seed
_OWN = {
  "out": "of which a sweep has one",
  "seed": "and a sweep counts its seeds from 0",
  "data.split_seed": "which is one for all cells, so that they can be compared",
  "data.cache": "which all cells share",
}


@dataclasses.dataclass(frozen=True)
class Axis:
  """What differs between the cells.

  Attributes:
    name: short, such as "tau" or "learning_rate".
    option: of the run, with dots, such as "loss".
    values: as they were given.
  """

  name: str
  option: str
  values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run of a sweep.

  Attributes:
    name: of its folder, such as "tau=0.3_seed=0".
    label: its values without the seed, such as "tau=0.3"; "" in a sweep of
      seeds alone.
    seed: of the run.
    options: option -> value, of those that the axes are in.
  """

  name: str
  label: str
  seed: int
  options: Mapping[str, Any]


def pieces_of(value: Any) -> list[Piece] | None:
  """The pieces of an option's value; None where it is one value alone.

  Args:
    value: text, perhaps with braces; or a list of values, of Python.

  Raises:
    UserError: see `braces.split`; for a list of no value.
  """
  if isinstance(value, list | tuple):
    if not value:
      raise UserError("is a list of no value; give one or more")
    return [tuple(value)]
  if isinstance(value, str) and ("{" in value or "}" in value):
    return braces.split(value)
  return None


def make(
  settings: Mapping[str, Sequence[Piece]], seeds: int
) -> tuple[tuple[Axis, ...], list[Cell]]:
  """The axes and the cells, the seed changing fastest.

  Args:
    settings: option -> its pieces, of those options that differ.
    seeds: how many, from 0.

  Raises:
    UserError: for no seed, or an option that must not differ.
  """
  if seeds < 1:
    raise UserError(f"{option('seeds')} must be at least 1, not {seeds}")
  for name, pieces in settings.items():
    if name in _OWN and any(isinstance(p, tuple) for p in pieces):
      raise UserError(f"{option(name)} has braces, {_OWN[name]}")
  axes = _axes(settings)
  shorts = [dict(zip(x.values, _shorts(x), strict=True)) for x in axes]
  cells = []
  places = [range(len(axis.values)) for axis in axes]
  for choice in itertools.product(*places):
    texts = [axis.values[i] for axis, i in zip(axes, choice, strict=True)]
    label = ", ".join(
      f"{axis.name}={text}" for axis, text in zip(axes, texts, strict=True)
    )
    folder = "_".join(
      short[text] for short, text in zip(shorts, texts, strict=True)
    )
    options = _filled(settings, choice)
    for seed in range(seeds):
      name = f"{_cut(folder)}_seed={seed}" if folder else f"seed={seed}"
      cells.append(Cell(name, label, seed, options))
  return axes, cells


def read(settings: Mapping[str, Any]) -> dict[str, Sequence[Piece]]:
  """The options that differ, in pieces.

  Args:
    settings: option -> its value, see `pieces_of`.

  Raises:
    UserError: naming the option.
  """
  found: dict[str, Sequence[Piece]] = {}
  for name, value in settings.items():
    with concerning(option(name)):
      pieces = pieces_of(value)
    if pieces is not None:
      found[name] = pieces
  return found


def _axes(settings: Mapping[str, Sequence[Piece]]) -> tuple[Axis, ...]:
  found = []
  for name, pieces in settings.items():
    before: Piece = ""
    for piece in pieces:
      if isinstance(piece, tuple):
        named = _NAMED.search(before) if isinstance(before, str) else None
        short = named[1] if named else name.rpartition(".")[2]
        found.append(Axis(short, name, tuple(map(str, piece))))
      before = piece
  counts = collections.Counter(axis.name for axis in found)
  seen: collections.Counter[str] = collections.Counter()
  for i, axis in enumerate(found):
    if counts[axis.name] > 1:
      seen[axis.name] += 1
      number = f"{axis.name}{seen[axis.name]}"
      found[i] = dataclasses.replace(axis, name=number)
  return tuple(found)


def _filled(
  settings: Mapping[str, Sequence[Piece]], choice: Sequence[int]
) -> dict[str, Any]:
  """Option -> its value in one cell."""
  left = iter(choice)
  filled: dict[str, Any] = {}
  for name, pieces in settings.items():
    parts = [p[next(left)] if isinstance(p, tuple) else p for p in pieces]
    filled[name] = parts[0] if len(parts) == 1 else "".join(map(str, parts))
  return filled


def _shorts(axis: Axis) -> list[str]:
  """NAME=VALUE for the names of folders, distinct and without odd letters."""
  slugs = [_slug(value) for value in axis.values]
  lower = [slug.lower() for slug in slugs]
  shorts = []
  for slug, small, value in zip(slugs, lower, axis.values, strict=True):
    alone = slug and lower.count(small) == 1
    shorts.append(f"{axis.name}={slug if alone else _hashed(slug, value)}")
  return shorts


def _slug(value: str) -> str:
  return re.sub(r"[^A-Za-z0-9=._+-]+", "-", value).strip("-.")


def _hashed(slug: str, value: str) -> str:
  digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:6]
  return f"{slug}-{digest}" if slug else digest


def _cut(name: str) -> str:
  if len(name) <= _LONGEST:
    return name
  return _hashed(name[: _LONGEST - 8], name)
