"""Nothing that is public is without words."""

import dataclasses
import pathlib
import sys
from typing import NamedTuple

sys.path.append(str(pathlib.Path(__file__).parents[2] / "docs" / "ext"))

import public_names


def test_every_public_name_has_words():
  assert public_names.undocumented() == []


def test_what_is_public():
  names = {name for name, _ in public_names.public_names()}
  assert {
    "offalign.losses.registry.register",
    "offalign.losses.base.Loss.implicit_rewards",
    "offalign.types.Scores.log_ratios",
    "offalign.generation.sampling.Samples",
  } <= names
  assert not [name for name in names if "._" in name]
  # What a module imports is public where it is defined.
  assert "offalign.losses.base.Scores" not in names


@dataclasses.dataclass
class Silent:
  x: int = 0


class Named(NamedTuple):
  """Lists one of its fields.

  Attributes:
    left: the one.
  """

  left: int
  right: int


def test_what_python_makes_up_is_no_docstring():
  assert Silent.__doc__ == "Silent(x: int = 0)"
  assert not public_names._words(Silent)
  assert public_names._words(Named)
  assert public_names._silent_fields(Named) == ["right"]
