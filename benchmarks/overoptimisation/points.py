"""Points of the suite: gold and proxy reward at one strength of one method."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from offalign.errors import UserError
from offalign.files import unique_keys

FILE = "rows.jsonl"
FOLDS = 20
"""Disjoint runs of prompts that a point keeps its means of, to resample."""

Key = tuple[str, str, int, float]


@dataclasses.dataclass(frozen=True)
class Point:
  """What a policy gained over the SFT policy; all means over prompts.

  Attributes:
    label: method and proxy, as a line of the report.
    method: "best of n", "RLOO", ...
    proxy: the reward model that it maximised.
    seed: of the log, the reward model and the training.
    strength: n, beta, tau, or the updates so far.
    kl: nats from the SFT policy; of best-of-n the bound log n - (n - 1) / n.
    kl_ties: of best-of-n, the KL estimated with ties; None of others.
    gold: gain in gold reward, in its own units.
    proxy_gain: gain in the proxy, stretched to the gold reward's standard
      deviation among completions of a prompt by the SFT policy.
    folds: `gold` on `FOLDS` disjoint runs of prompts.
    seconds: CPU seconds that the point took, the reward model left out.
  """

  label: str
  method: str
  proxy: str
  seed: int
  strength: float
  kl: float
  kl_ties: float | None
  gold: float
  proxy_gain: float
  folds: list[float]
  seconds: float

  @property
  def key(self) -> Key:
    """What there is one point of."""
    return self.method, self.proxy, self.seed, self.strength


class Points:
  """The points of a folder, appended to as they come.

  Attributes:
    found: all of them, by key.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    """Opens or begins the folder.

    Raises:
      UserError: for a line, other than the last, that is no point.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self._path = folder / FILE
    self.found = {point.key: point for point in read(self._path)}

  def add(self, points: Iterable[Point]) -> None:
    """Appends points."""
    points = list(points)
    lines = [json.dumps(dataclasses.asdict(point)) for point in points]
    with self._path.open("a", encoding="utf-8") as file:
      file.write("".join(f"{line}\n" for line in lines))
    self.found |= {point.key: point for point in points}

  def holds(
    self, method: str, proxy: str, seed: int, strengths: Iterable[float]
  ) -> bool:
    """Whether all of a curve's points are there."""
    return all((method, proxy, seed, s) in self.found for s in strengths)


def read(path: pathlib.Path) -> list[Point]:
  """The points of a file; a last line that was cut off is taken out of it.

  Raises:
    UserError: for any other line that is no point.
  """
  if not path.exists():
    return []
  lines = path.read_text(encoding="utf-8").splitlines()
  found = []
  for number, line in enumerate(lines, 1):
    try:
      fields: dict[str, Any] = json.loads(line, object_pairs_hook=unique_keys)
      found.append(Point(**fields))
    except (ValueError, TypeError) as error:
      if number < len(lines):
        raise UserError(f"{path}:{number} is no point: {error}") from None
      kept = "".join(f"{whole}\n" for whole in lines[:-1])
      path.write_text(kept, encoding="utf-8")
  return found
