"""What tuning found: a record for each draw, and the expected best of k."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from offalign.errors import UserError
from offalign.files import unique_keys


@dataclasses.dataclass(frozen=True)
class Draw:
  """One run of the tuning: options drawn, and what they gave on validation.

  Attributes:
    model: "decoder" or "t5".
    line: the line of the board.
    draw: 0, 1, ...
    loss: spec with the drawn options.
    learning_rate: of the policy.
    value_learning_rate: of the value; None = the policy's, or there is none.
    win: win rate against SFT on the validation prompts; NaN where it failed.
    kl: nats, on the policy's own samples of them.
    seconds: CPU seconds, compilation included.
    error: one sentence where the run failed, else "".
  """

  model: str
  line: str
  draw: int
  loss: str
  learning_rate: float
  value_learning_rate: float | None
  win: float
  kl: float
  seconds: float
  error: str = ""

  @property
  def key(self) -> tuple[str, str, int]:
    """What there is one record of."""
    return self.model, self.line, self.draw


class Records:
  """The records of a folder, appended to as runs end."""

  def __init__(self, folder: pathlib.Path, about: Mapping[str, Any]):
    """Opens or begins the folder.

    Args:
      folder: holds `about.json` and `draws.jsonl`.
      about: what a continued suite has to agree in.

    Raises:
      UserError: where the folder holds the draws of another command, or a
        line of it cannot be read.
    """
    self._path = folder / "draws.jsonl"
    self.found: dict[tuple[str, str, int], Draw] = {}
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "about.json"
    if told.exists():
      before = json.loads(told.read_text(encoding="utf-8"))
      for key, value in about.items():
        if before.get(key) != value:
          raise UserError(
            f"{folder} holds the tuning of another command: its {key} is "
            f"{before.get(key)!r} and not {value!r}; name another --out, or "
            "give the same flags to go on"
          )
    else:
      told.write_text(json.dumps(dict(about), indent=2) + "\n", "utf-8")
    for draw in read(self._path):
      self.found[draw.key] = draw

  def add(self, draw: Draw) -> None:
    """Appends one record, whole or not at all for whoever reads it later."""
    self.found[draw.key] = draw
    fields = dataclasses.asdict(draw)
    for name in ("win", "kl"):
      if not math.isfinite(fields[name]):
        fields[name] = None
    with self._path.open("a", encoding="utf-8") as file:
      file.write(json.dumps(fields) + "\n")


def read(path: pathlib.Path) -> list[Draw]:
  """The draws of a file; a last line that was cut off is left out.

  Raises:
    UserError: for any other line that is no record.
  """
  if not path.exists():
    return []
  found = []
  lines = path.read_text(encoding="utf-8").splitlines()
  for number, line in enumerate(lines, 1):
    try:
      fields = json.loads(line, object_pairs_hook=unique_keys)
      for name in ("win", "kl"):
        fields[name] = math.nan if fields[name] is None else fields[name]
      found.append(Draw(**fields))
    except (ValueError, TypeError, KeyError) as error:
      if number == len(lines):
        # The run was stopped while it wrote; the draw is made again.
        kept = "".join(f"{whole}\n" for whole in lines[:-1])
        path.write_text(kept, encoding="utf-8")
        break
      raise UserError(f"{path}:{number} is no draw: {error}") from None
  return found


def best(draws: Sequence[Draw]) -> Draw | None:
  """The draw of the highest win rate on validation; of equals the first."""
  whole = [draw for draw in draws if not math.isnan(draw.win)]
  return max(whole, key=lambda draw: draw.win, default=None)


def expected_best(wins: Sequence[float]) -> list[float]:
  """E[the best of k draws], for k = 1 .. n, without replacement.

  The i-th smallest of n is the largest of k with probability
  C(i - 1, k - 1) / C(n, k); Dodge et al., Show your work, arXiv:1909.03004,
  take draws with replacement, which for k = n falls short of the best one.

  Args:
    wins: of all draws; a failed one counts as 0.
  """
  ranked = sorted(0.0 if math.isnan(win) else win for win in wins)
  n = len(ranked)
  return [
    sum(
      win * math.comb(i, k - 1) / math.comb(n, k)
      for i, win in enumerate(ranked)
    )
    for k in range(1, n + 1)
  ]
