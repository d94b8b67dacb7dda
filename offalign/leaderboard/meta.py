"""What a benchmark says about itself, in DIR/meta.json.

Every key is optional:

  title     of the report
  scale     one paragraph: how far the claims reach (task, model, size)
  command   the command that wrote the rows
  notes     list of sentences
  verdicts  list of sentences, printed as they are
  oracle    reference points that need no training: a list for every group,
            or a table from "track", "track/scenario" or
            "track/scenario/model" to a list; the longest match is used. A
            point is a table of numbers (`tau`, `kl`, `reward_gain`, `win`,
            ...) and may have a `name` (such as "best of 4"). Those with
            `tau`, `kl` and `reward_gain` are the plotted frontier.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from offalign.errors import UserError, suggest
from offalign.files import read_object

Point = Mapping[str, float | str]


@dataclasses.dataclass(frozen=True)
class Meta:
  """The contents of meta.json; the module's docstring lists the keys."""

  title: str = "Leaderboard"
  scale: str = ""
  command: str = ""
  notes: Sequence[str] = ()
  verdicts: Sequence[str] = ()
  oracle: Mapping[str, Sequence[Point]] = dataclasses.field(
    default_factory=dict
  )

  def points(self, *key: str) -> Sequence[Point]:
    """Returns the oracle's points for (track, scenario, model)."""
    for length in (3, 2, 1, 0):
      name = "/".join(key[:length])
      if name in self.oracle:
        return self.oracle[name]
    return ()


def load(directory: pathlib.Path) -> Meta:
  """Reads DIR/meta.json; without that file, the defaults.

  Raises:
    UserError: for what is not JSON, an unknown key or a value of another
      type.
  """
  path = directory / "meta.json"
  if not path.exists():
    return Meta()
  record = read_object(path)
  names = [field.name for field in dataclasses.fields(Meta)]
  for key in record:
    if key not in names:
      raise UserError(f"meta.json has no key {key!r}{suggest(key, names)}")
  for key in ("title", "scale", "command"):
    if not isinstance(record.get(key, ""), str):
      raise UserError(f"meta.json: {key!r} is not a string")
  for key in ("notes", "verdicts"):
    value = record.get(key, [])
    if not (
      isinstance(value, list) and all(isinstance(item, str) for item in value)
    ):
      raise UserError(f"meta.json: {key!r} is not a list of strings")
  if "oracle" in record:
    record["oracle"] = _oracle(record["oracle"])
  return Meta(**record)


def _oracle(value: Any) -> dict[str, list[Point]]:
  table = {"": value} if isinstance(value, list) else value
  if not isinstance(table, dict):
    raise UserError("meta.json: 'oracle' is neither a list nor a table")
  for key, points in table.items():
    name = f"oracle.{key}" if key else "oracle"
    if not isinstance(points, list):
      raise UserError(f"meta.json: {name!r} is not a list of points")
    for point in points:
      if not (
        isinstance(point, dict)
        and all(_fits(key, value) for key, value in point.items())
      ):
        raise UserError(
          f"meta.json: {name!r} has {point!r}: a point is a table of numbers "
          "and may have a name"
        )
  return table


def _fits(key: str, value: Any) -> bool:
  if key == "name":
    return isinstance(value, str)
  return isinstance(value, int | float) and not isinstance(value, bool)
