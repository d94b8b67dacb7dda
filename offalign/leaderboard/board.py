"""The aggregated leaderboard, as plain data."""

import dataclasses
import math
from collections.abc import Mapping

from offalign.leaderboard.columns import Column
from offalign.leaderboard.meta import Meta
from offalign.leaderboard.rows import Sample
from offalign.statistics.differences import Estimate

Budget = tuple[int, int, int]
"""(completions, tokens, steps), in the order of `rows.BUDGET`."""


@dataclasses.dataclass(frozen=True)
class Stat:
  """A metric's values by seed, with mean and spread.

  Attributes:
    by_seed: seed -> value, seeds rising.
  """

  by_seed: Mapping[int, float]

  @property
  def n(self) -> int:
    """How many seeds have a value."""
    return len(self.by_seed)

  @property
  def mean(self) -> float:
    """The mean over seeds."""
    return mean(list(self.by_seed.values()))

  @property
  def sd(self) -> float | None:
    """The sample standard deviation (n - 1); None for a single seed."""
    return sample_sd(list(self.by_seed.values()))

  @property
  def se(self) -> float | None:
    """The standard error of the mean over seeds; None for a single seed."""
    return None if self.sd is None else self.sd / math.sqrt(self.n)

  @property
  def finite(self) -> bool:
    """Whether every value is finite."""
    return all(math.isfinite(value) for value in self.by_seed.values())


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Two methods by the metric that ranks them.

  Attributes:
    a: the label of the better by rank.
    b: the other's.
    estimate: a's metric less b's.
    p: Holm's p-value among all pairs of the group.
    paired: whether the difference is taken prompt by prompt.
  """

  a: str
  b: str
  estimate: Estimate
  p: float
  paired: bool


@dataclasses.dataclass(frozen=True)
class Ranking:
  """What may be said of an order.

  Attributes:
    pairs: every two ranked methods.
    top: labels of those that no other is resolved to be better than.
    detectable: the difference that one pair shows with 80% power, the median
      of all; None where nothing is known of the errors.
  """

  pairs: tuple[Comparison, ...]
  top: tuple[str, ...]
  detectable: float | None


@dataclasses.dataclass(frozen=True)
class CurvePoint:
  """Mean and sample standard deviation over seeds at one step."""

  step: int
  mean: float
  sd: float | None


@dataclasses.dataclass(frozen=True)
class Entry:
  """A method within a group: its runs of one budget, over seeds.

  Attributes:
    label: its name on the board.
    loss: loss spec.
    data_view: what the loss saw.
    control: whether it is a reference line.
    budget: of each of its runs.
    seeds: seeds of the runs that ended well, rising.
    failed_seeds: seeds of the runs that failed.
    metrics: name -> Stat.
    fold_sd: metric -> mean over seeds of the standard deviation over folds.
    seconds: "wall", "cpu" -> Stat.
    peak_memory_mb: the largest over seeds.
    curves: metric -> points at the steps that all its seeds have.
    selection: how its checkpoints were chosen; "" for the last ones.
    samples: completions of the first seed that has any.
    command: the command of the last seed, which makes its row again.
    rank: 1 is best; methods equal at the printed precision share a rank.
      None where the method is not ranked.
    reason: why the method is not ranked; "" where it is.
    errors: metric -> its mean with a standard error, over seeds, and over
      prompts where rows hold their outcomes; not of what is not finite.
    measurement: see `Row`.
  """

  label: str
  loss: str
  data_view: str
  control: bool
  budget: Budget
  seeds: tuple[int, ...]
  failed_seeds: tuple[int, ...]
  metrics: Mapping[str, Stat]
  fold_sd: Mapping[str, float]
  seconds: Mapping[str, Stat]
  peak_memory_mb: float
  curves: Mapping[str, tuple[CurvePoint, ...]]
  selection: str = ""
  samples: tuple[Sample, ...] = ()
  command: str = ""
  rank: int | None = None
  reason: str = ""
  errors: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
  measurement: int = 1

  def se(self, key: str) -> float | None:
    """The standard error of a metric's mean; None where it is not known."""
    found = self.errors.get(key)
    return None if found is None or math.isnan(found.se) else found.se


@dataclasses.dataclass(frozen=True)
class Failure:
  """A run that failed."""

  label: str
  seed: int
  budget: Budget
  error: str
  command: str = ""


@dataclasses.dataclass(frozen=True)
class Group:
  """Methods that may be compared: one track, scenario and model.

  Attributes:
    track, scenario, model: what the methods share.
    budget: the budget of the ranked methods; None where no budget is the most
      common, so that nothing is ranked.
    sort: the metric that ranks; None where nothing can rank.
    ranked: best first.
    controls: reference lines, by label.
    unranked: the rest, each with its reason.
    failures: by label and seed.
    duels: (a, b) -> share of prompts that a wins against b, over seeds.
    notes: sentences about what is unequal, missing or left out.
    ranking: which of the ranked methods differ; None for fewer than two.
    said: what that found, in sentences.
  """

  track: str
  scenario: str
  model: str
  budget: Budget | None
  sort: Column | None
  ranked: tuple[Entry, ...]
  controls: tuple[Entry, ...]
  unranked: tuple[Entry, ...]
  failures: tuple[Failure, ...]
  duels: Mapping[tuple[str, str], Stat]
  notes: tuple[str, ...]
  ranking: Ranking | None = None
  said: tuple[str, ...] = ()

  @property
  def starred(self) -> frozenset[str]:
    """Labels of the top set; none where nothing is known of the errors."""
    if self.ranking is None or self.ranking.detectable is None:
      return frozenset()
    return frozenset(self.ranking.top)

  @property
  def key(self) -> str:
    """Track/scenario/model."""
    return f"{self.track}/{self.scenario}/{self.model}"

  @property
  def entries(self) -> tuple[Entry, ...]:
    """Ranked, then controls, then the rest."""
    return self.ranked + self.controls + self.unranked


@dataclasses.dataclass(frozen=True)
class Board:
  """The aggregated leaderboard: everything a report shows.

  Attributes:
    groups: by track, scenario and model.
    problems: sentences about lines left out and runs written twice.
    environments: (versions as text, revision) -> number of rows.
    meta: what the benchmark says about itself.
    rows: how many rows were read.
  """

  groups: tuple[Group, ...]
  problems: tuple[str, ...]
  environments: Mapping[tuple[str, str], int]
  meta: Meta
  rows: int


def mean(values: list[float]) -> float:
  """Returns the mean of a non-empty list."""
  return sum(values) / len(values)


def sample_sd(values: list[float]) -> float | None:
  """Returns the standard deviation with n - 1; None for a single value."""
  if len(values) < 2:
    return None
  centre = mean(values)
  total = sum((value - centre) * (value - centre) for value in values)
  return math.sqrt(total / (len(values) - 1))
