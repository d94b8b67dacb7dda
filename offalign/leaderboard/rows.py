"""Rows of the leaderboard: metrics, budget and cost of a finished run.

A row is one line of JSON. Its keys are the fields of `Row`, all of them and
no others, so that a row written by another version of the benchmark is
refused and never half understood; only `samples` and `command`, which no
number depends on, and what older rows did not have, `outcomes`, `prompts` and
`measurement`, may be absent. JSON has no NaN or infinity: they are
written as the strings "NaN", "Infinity" and "-Infinity".
"""

import dataclasses
import json
import math
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offalign.errors import UserError, suggest
from offalign.files import unique_keys
from offalign.statistics import outcomes as outcomes_lib

BUDGET = ("completions", "tokens", "steps")
SECONDS = ("wall", "cpu")
STATUSES = ("ok", "failed")
_MAY_LACK = ("samples", "command", "outcomes", "prompts", "measurement")
_NEAR = 2e-3  # between a metric and the mean of its outcomes, rounded
_NAMES = ("track", "scenario", "loss", "label", "model", "revision")


LONGEST = 2_000
"""Characters of a text in a row at most; samples may be longer."""


_HALF = re.compile("[\ud800-\udfff]")  # which no file holds


@dataclasses.dataclass(frozen=True)
class Sample:
  """A prompt, a completion of it and its reward.

  Attributes:
    prompt: as text.
    completion: as text.
    reward: what the judge gives it.
  """

  prompt: str
  completion: str
  reward: float


@dataclasses.dataclass(frozen=True)
class Row:
  """One run: one method on one scenario, model and seed.

  Runs that differ only in `seed` and `budget` share a label; within a
  (track, scenario, model) a label belongs to one loss and one data view.

  Attributes:
    track: "theory", "ops", ...
    scenario: the knob's setting, such as "rho=0.5" or "L=0.37".
    loss: loss spec, as `str(loss)` prints it.
    label: name on the board, such as "dro_v(tau=0.1)".
    data_view: what the loss saw, such as "pairs, gold label".
    model: model spec.
    seed: the seed of the offline data and of the batch order.
    budget: what the run was allowed: `completions` (count), `tokens`
      (completion positions, padding included, so that it does not vary with
      the seed's data) and `steps` (optimizer updates).
    metrics: name -> value. `columns.COLUMNS` lists those with a column.
    seconds: `wall` and `cpu` of the run.
    peak_memory_mb: high-water mark of the process, MiB (see `Stopwatch`).
    versions: package -> version, as `environment()` gives it.
    revision: git revision, or "unknown".
    folds: metric -> its values over the folds of the test prompts.
    curves: metric -> [[step, value], ...], steps rising.
    duels: label (or loss) of the opponent -> win rate of this row against
      the opponent's run with the same seed, in [0, 1].
    selection: how the checkpoint was chosen, such as "by win rate against SFT
      on 500 validation prompts, every 75 steps"; "" for the last one.
    control: True for a reference line that is not trained, so not ranked.
    status: "ok" or "failed".
    error: one sentence where the run failed, else None.
    samples: what the method wrote for a few prompts, the same for every run
      of the benchmark; a table of `Sample`'s fields each.
    command: makes the row again; "" where the benchmark does not say.
    outcomes: metric -> its values on the prompts, whose mean it is: letters
      w, t, l and - (won, tied, lost, no verdict), or numbers; see
      `statistics.outcomes`. From these come standard errors, and differences
      that are paired by prompt.
    prompts: digest of the prompts in the order of `outcomes`, as
      `statistics.outcomes.prompt_set` makes it; "" without them.
    measurement: the benchmark's version of how it measures; rows of different
      ones are not ranked together.
  """

  track: str
  scenario: str
  loss: str
  label: str
  data_view: str
  model: str
  seed: int
  budget: Mapping[str, int]
  metrics: Mapping[str, float]
  seconds: Mapping[str, float]
  peak_memory_mb: float
  versions: Mapping[str, str]
  revision: str = "unknown"
  folds: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
  curves: Mapping[str, Sequence[Sequence[float]]] = dataclasses.field(
    default_factory=dict
  )
  duels: Mapping[str, float] = dataclasses.field(default_factory=dict)
  selection: str = ""
  control: bool = False
  status: str = "ok"
  error: str | None = None
  samples: Sequence[Sample] = ()
  command: str = ""
  outcomes: Mapping[str, str | Sequence[float]] = dataclasses.field(
    default_factory=dict
  )
  prompts: str = ""
  measurement: int = 1

  def __post_init__(self) -> None:
    """Checks every field and stores plain Python values.

    Raises:
      UserError: naming the field, what it holds and what belongs there.
    """
    for name in _NAMES:
      _check(bool(_text(getattr(self, name), name).strip()), name, "is empty")
    for name in ("data_view", "selection", "command", "prompts"):
      _text(getattr(self, name), name)
    fixed = {
      "seed": _integer(self.seed, "seed"),
      "budget": _table(self.budget, "budget", _count, BUDGET),
      "metrics": _table(self.metrics, "metrics", _number),
      "seconds": _table(self.seconds, "seconds", _number, SECONDS),
      "peak_memory_mb": _number(self.peak_memory_mb, "peak_memory_mb"),
      "versions": _table(self.versions, "versions", _text),
      "folds": _table(self.folds, "folds", _folds),
      "curves": _table(self.curves, "curves", _curve),
      "duels": _table(self.duels, "duels", _share),
      "samples": _samples(self.samples, "samples"),
      "outcomes": _table(self.outcomes, "outcomes", _outcomes),
      "measurement": _count(self.measurement, "measurement"),
    }
    for name, value in fixed.items():
      object.__setattr__(self, name, value)
    _check(self.control in (True, False), "control", "is not true or false")
    _check(self.status in STATUSES, "status", f"is not one of {STATUSES}")
    failed = self.status == "failed"
    _check(
      isinstance(self.error, str) if failed else self.error is None,
      "error",
      f"is {self.error!r}, but status is {self.status!r}: a failed run has "
      "an error, another has none",
    )
    _check(
      not _HALF.search(self.error or ""),
      "error",
      "has half of a surrogate pair",
    )
    _check(self.label not in self.duels, "duels", "has the row itself")
    self._check_outcomes()

  def _check_outcomes(self) -> None:
    """Refuses outcomes that are not those of the metric beside them."""
    if not self.outcomes:
      return
    _check(bool(self.prompts), "prompts", "is empty, but there are outcomes")
    counts = {len(stored) for stored in self.outcomes.values()}
    _check(len(counts) == 1, "outcomes", f"are of {sorted(counts)} prompts")
    for key, stored in self.outcomes.items():
      name = f"outcomes.{key}"
      _check(key in self.metrics, name, "is of no metric of the row")
      values = outcomes_lib.decode(stored)
      known = values[~np.isnan(values)]
      _check(bool(known.size), name, "has no outcome")
      apart = abs(float(known.mean()) - self.metrics[key])
      _check(
        apart <= _NEAR,
        name,
        f"has the mean {known.mean():.4f}, and the metric is "
        f"{self.metrics[key]:.4f}",
      )

  @property
  def group(self) -> tuple[str, str, str]:
    """(track, scenario, model): the rows that are compared."""
    return self.track, self.scenario, self.model

  def to_json(self) -> str:
    """Returns the row as one line of JSON, keys in field order."""
    return json.dumps(jsonable(dataclasses.asdict(self)), allow_nan=False)

  @classmethod
  def from_json(cls, line: str, where: str = "row") -> "Row":
    """Reads a row back.

    Args:
      line: one JSON object.
      where: "file:line", the start of every complaint.

    Raises:
      UserError: for an unknown or missing key, or a value of another type.
      json.JSONDecodeError: where the line is not JSON, as half a line is.
    """
    try:
      record = json.loads(line, object_pairs_hook=unique_keys)
    except json.JSONDecodeError:
      raise
    except ValueError as error:  # thousands of digits, a key that repeats
      raise UserError(f"{where}: {error}") from None
    if not isinstance(record, dict):
      raise UserError(f"{where}: a row is a JSON object, not {line.strip()!r}")
    fields = [field.name for field in dataclasses.fields(cls)]
    for key in record:
      if key not in fields:
        hint = suggest(key, fields)
        raise UserError(f"{where}: a row has no key {key!r}{hint}")
    missing = [n for n in fields if n not in record and n not in _MAY_LACK]
    if missing:
      raise UserError(f"{where}: the row lacks {', '.join(missing)}")
    try:
      return cls(**record)
    except UserError as error:
      raise UserError(f"{where}: {error}") from None


def jsonable(value: Any) -> Any:
  """Copies nested containers, non-finite floats as strings."""
  if isinstance(value, Mapping):
    return {str(key): jsonable(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [jsonable(item) for item in value]
  if isinstance(value, float) and not math.isfinite(value):
    if math.isnan(value):
      return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
  return value


def _check(holds: bool, name: str, complaint: str) -> None:
  if not holds:
    raise UserError(f"{name!r} {complaint}")


def _text(value: Any, name: str) -> str:
  _check(isinstance(value, str), name, f"is {value!r:.200}, not a string")
  _check(not _HALF.search(value), name, "has half of a surrogate pair")
  _check("\n" not in value, name, "has a line break")
  _check(
    len(value) <= LONGEST,
    name,
    f"has {len(value):,} characters, more than {LONGEST:,}",
  )
  return value


def _number(value: Any, name: str) -> float:
  named = isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity")
  if named or not isinstance(value, str | bool):
    try:
      return float(value)
    except (TypeError, ValueError, OverflowError):
      pass
  raise UserError(f"{name!r} is {value!r}, not a number")


def _share(value: Any, name: str) -> float:
  share = _number(value, name)
  _check(0.0 <= share <= 1.0, name, f"is {share}, not a share in [0, 1]")
  return share


def _integer(value: Any, name: str) -> int:
  _check(
    not isinstance(value, bool) and hasattr(value, "__index__"),
    name,
    f"is {value!r}, not a whole number",
  )
  return operator.index(value)


def _count(value: Any, name: str) -> int:
  count = _integer(value, name)
  _check(count >= 0, name, f"is {count}, less than 0")
  return count


def _folds(value: Any, name: str) -> list[float]:
  _check(isinstance(value, list | tuple), name, "is not a list of numbers")
  _check(len(value) >= 2, name, "has fewer than two folds")
  return [_number(item, name) for item in value]


def _outcomes(value: Any, name: str) -> str | list[float]:
  _check(
    isinstance(value, str | list | tuple),
    name,
    "is neither letters nor a list of numbers",
  )
  _check(
    0 < len(value) <= outcomes_lib.MOST,
    name,
    f"has {len(value):,} outcomes, not 1 to {outcomes_lib.MOST:,}",
  )
  if not isinstance(value, str):
    return [_number(item, name) for item in value]
  unknown = set(value) - set(outcomes_lib.LETTERS)
  _check(
    not unknown,
    name,
    f"has {min(unknown, default='')!r}, not one of "
    f"{', '.join(outcomes_lib.LETTERS)}",
  )
  return value


def _curve(value: Any, name: str) -> list[list[float]]:
  _check(isinstance(value, list | tuple), name, "is not a list of points")
  curve: list[list[float]] = []
  for point in value:
    _check(
      isinstance(point, list | tuple) and len(point) == 2,
      name,
      f"has the point {point!r}, not [step, value]",
    )
    step = _count(point[0], name)
    _check(not curve or step > curve[-1][0], name, "has steps that do not rise")
    curve.append([step, _number(point[1], name)])
  return curve


def _samples(value: Any, name: str) -> list[Sample]:
  _check(isinstance(value, list | tuple), name, "is not a list of samples")
  fields = [field.name for field in dataclasses.fields(Sample)]
  samples = []
  for item in value:
    if isinstance(item, Sample):
      item = dataclasses.asdict(item)
    _check(
      isinstance(item, Mapping)
      and sorted(item) == sorted(fields)
      and all(isinstance(item[key], str) for key in ("prompt", "completion")),
      name,
      f"has {item!r}, not a table of {', '.join(fields)}",
    )
    for key in ("prompt", "completion"):
      _check(not _HALF.search(item[key]), name, "has half of a surrogate pair")
    reward = _number(item["reward"], f"{name}.reward")
    samples.append(Sample(item["prompt"], item["completion"], reward))
  return samples


def _table(
  value: Any, name: str, read: Any, keys: tuple[str, ...] | None = None
) -> dict[str, Any]:
  _check(isinstance(value, Mapping), name, "is not a table of names")
  if keys is not None and sorted(value) != sorted(keys):
    raise UserError(
      f"{name!r} has the keys {sorted(value)}, not {sorted(keys)}"
    )
  return {
    _text(key, name): read(item, f"{name}.{key}") for key, item in value.items()
  }
