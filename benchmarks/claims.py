"""Claims about methods, and the rule by which rows decide them.

A difference is taken prompt by prompt where the rows hold the outcomes of the
same prompts, and seed by seed where a number is known of each seed alone, as
efficiency is; its 95% interval is `offalign.statistics.differences`. A claim

  holds                             where the interval is on its side of 0,
  does not hold at our scale        where it is on the other side,
  is within the noise               where it has 0 inside,
  is not contradicted               where it says that nothing is better, or
                                    that nothing changes, and nothing resolved
                                    speaks against it,
  cannot be tested at this tau here where the exact optimum of the method's tau
                                    wins less than the rival did, so that no
                                    learner could have made the claim true,
  was not run                       where a row is missing.

Win rate favours whoever goes furthest from the reference, and a claim about it
may be decided by tau alone. So every claim that compares two methods is judged
by efficiency too, the reward gained as a share of the most that its KL can buy.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from benchmarks import ops_metrics
from offalign import losses
from offalign.leaderboard import Row
from offalign.statistics import differences
from offalign.statistics.differences import Estimate
from offalign.statistics.outcomes import decode

HOLDS = "holds"
FAILS = "does not hold at our scale"
NOISE = "within the noise"
UNOPPOSED = "not contradicted"
UNTESTABLE = "cannot be tested at this tau here"
ABSENT = "not run"
NONE = ""
"""For a claim that a measure has nothing to say on."""
_WORST = (FAILS, ABSENT, UNTESTABLE, NOISE, UNOPPOSED, HOLDS)

Measure = Literal["win", "efficiency"]


@dataclasses.dataclass(frozen=True)
class Match:
  """One policy against another.

  Attributes:
    name: in the table.
    a: the label whose win rate it is; of several, the best on validation
      prompts.
    b: the label of the opponent, likewise, or "sft".
    paper: (column, win rate) as the paper has it.
  """

  name: str
  a: str | tuple[str, ...]
  b: str | tuple[str, ...]
  paper: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Found:
  """How a match ended.

  Attributes:
    values: [S, N], by seed and prompt, or [S, 1], by seed alone.
    ceiling: the win rate against SFT of the exact optimum of a's tau; None
      where a is no DRO-V or the optimum is not known.
    rival: b's own win rate against SFT; None where b is SFT.
  """

  values: np.ndarray
  ceiling: float | None = None
  rival: float | None = None

  @property
  def estimate(self) -> Estimate:
    """The mean over seeds and prompts with its standard error."""
    return differences.mean(self.values)


class Results:
  """The rows of one model, by label."""

  def __init__(
    self, rows: Sequence[Row], optimum: Mapping[float, float] | None = None
  ):
    """Takes the rows that ended well and are no controls.

    Args:
      rows: of one model.
      optimum: tau -> the win rate against SFT of its exact optimum.
    """
    self.runs: dict[str, dict[int, Row]] = {}
    for row in rows:
      if row.status == "ok" and not row.control:
        self.runs.setdefault(row.label, {})[row.seed] = row
    self.optimum = optimum or {}

  def chosen(self, side: str | tuple[str, ...]) -> str | None:
    """The label that a side stands for; None where a run is missing."""
    if side == "sft":
      return "sft"
    labels = (side,) if isinstance(side, str) else side
    if any(label not in self.runs for label in labels):
      return None
    return max(labels, key=self._validated)

  def _validated(self, label: str) -> float:
    runs = self.runs[label].values()
    return statistics.fmean(_on_validation(row) for row in runs)

  def found(self, match: Match, measure: Measure = "win") -> Found | None:
    """The outcome of a match; None where a run is missing."""
    a, b = self.chosen(match.a), self.chosen(match.b)
    if a is None or b is None:
      return None
    if measure == "efficiency":
      values = self._efficiency(a, b)
    else:
      values = self._against_sft(a) if b == "sft" else self._met(a, b)
    if not values.size:
      return None
    return Found(values, self._ceiling(a), self._rival(b))

  def metric(self, match: Match, key: str) -> float | None:
    """The mean of another metric of the match's first side."""
    label = self.chosen(match.a)
    if label is None:
      return None
    found = [
      row.metrics[key]
      for row in self.runs[label].values()
      if key in row.metrics
    ]
    return statistics.fmean(found) if found else None

  def _ceiling(self, label: str) -> float | None:
    loss = losses.get(next(iter(self.runs[label].values())).loss)
    if loss.name != "dro_v":
      return None
    return self.optimum.get(loss.options["tau"])

  def _rival(self, label: str) -> float | None:
    if label == "sft":
      return None
    return float(np.mean(self._against_sft(label)))

  def _against_sft(self, label: str) -> np.ndarray:
    runs = _ordered(self.runs[label])
    whole = _by_prompt(runs, "win_vs_sft")
    if whole is not None:
      return whole
    return np.array([[row.metrics["win_vs_sft"]] for row in runs])

  def _efficiency(self, a: str, b: str) -> np.ndarray:
    """[S, 1]: a's efficiency, less b's where b is not SFT."""
    one = {s: r.metrics.get("efficiency") for s, r in self.runs[a].items()}
    other = (
      dict.fromkeys(one, 0.0)
      if b == "sft"
      else {s: r.metrics.get("efficiency") for s, r in self.runs[b].items()}
    )
    pairs = ((one[s], other.get(s)) for s in sorted(one))
    return np.array(
      [[x - y] for x, y in pairs if x is not None and y is not None]
    )

  def _met(self, a: str, b: str) -> np.ndarray:
    """a against b in each seed: by prompt, or whichever row holds the duel."""
    seeds = sorted(set(self.runs[a]) & set(self.runs[b]))
    runs = [self.runs[label][seed] for label in (a, b) for seed in seeds]
    gains = _by_prompt(runs, "reward_gain")
    if gains is not None:
      # Both gains are over one mean, so they order as the rewards do.
      return ops_metrics.wins(gains[: len(seeds)], gains[len(seeds) :])
    shares = []
    for seed in seeds:
      row, other = self.runs[a][seed], self.runs[b][seed]
      if b in row.duels:
        shares.append([row.duels[b]])
      elif a in other.duels:
        shares.append([1 - other.duels[a]])
    return np.array(shares)


def _ordered(runs: Mapping[int, Row]) -> list[Row]:
  return [runs[seed] for seed in sorted(runs)]


def _by_prompt(runs: Sequence[Row], key: str) -> np.ndarray | None:
  """[S, N]; None where a row lacks the outcomes, or is of other prompts."""
  if not runs or len({row.prompts for row in runs}) != 1:
    return None
  if not all(key in row.outcomes for row in runs):
    return None
  return np.array([decode(row.outcomes[key]) for row in runs])


def _on_validation(row: Row) -> float:
  """The win rate of the checkpoint that the row is of; step 0 is SFT."""
  rates = [rate for _, rate in row.curves["win_vs_sft"]]
  return max(rates[1:]) if row.selection else rates[-1]


def resolve(estimate: Estimate) -> str:
  """The rule: see the module's docstring."""
  if estimate.low > 0:
    return HOLDS
  return FAILS if estimate.high < 0 else NOISE


def worst(verdicts: Sequence[str]) -> str:
  """What is to be said of several claims at once."""
  return min((v for v in verdicts if v != NONE), key=_WORST.index)


@dataclasses.dataclass(frozen=True)
class Claim:
  """Something that the paper says of its table.

  Attributes:
    text: the claim.
  """

  text: str

  @property
  def matches(self) -> tuple[Match, ...]:
    """What it is about."""
    raise NotImplementedError

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """A verdict and its numbers, from the outcomes of `matches`."""
    raise NotImplementedError

  def testable(self, found: Sequence[Found]) -> bool:
    """Whether a perfect learner of the claim's tau could win as it says."""
    return True

  def verdict(
    self, results: Results, measure: Measure = "win"
  ) -> tuple[str, str]:
    """(verdict, the numbers behind it); (NONE, "") for no verdict."""
    found = [results.found(match, measure) for match in self.matches]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
      return ABSENT, ""
    verdict, numbers = self.judge(known, measure)
    if measure == "efficiency" or verdict not in (FAILS, NOISE):
      return verdict, numbers
    if self.testable(known):
      return verdict, numbers
    return UNTESTABLE, f"{numbers}; {_ceiling(known[0])}"


@dataclasses.dataclass(frozen=True)
class Beats(Claim):
  """The match is won."""

  match: Match

  @property
  def matches(self) -> tuple[Match, ...]:
    """The match."""
    return (self.match,)

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """Against one half; by efficiency, of two methods alone, against 0."""
    (one,) = found
    if measure == "efficiency":
      if one.rival is None:
        return NONE, ""
      return resolve(one.estimate), _numbers(one, "+")
    return resolve(differences.mean(one.values - 0.5)), _numbers(one)

  def testable(self, found: Sequence[Found]) -> bool:
    """Against the rival's own win rate."""
    (one,) = found
    return one.ceiling is None or (one.rival is None or one.ceiling > one.rival)


@dataclasses.dataclass(frozen=True)
class Above(Claim):
  """One match is won more often than another."""

  better: Match
  worse: Match

  @property
  def matches(self) -> tuple[Match, ...]:
    """Both."""
    return self.better, self.worse

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """By the difference."""
    a, b = found
    return _less(a, b)[0], f"{_numbers(a)} against {_numbers(b)}"

  def testable(self, found: Sequence[Found]) -> bool:
    """Against the worse match."""
    return _can_reach(found[0], found[1:])


@dataclasses.dataclass(frozen=True)
class Best(Claim):
  """One match is won more often than all the others."""

  best: Match
  among: tuple[Match, ...]

  @property
  def matches(self) -> tuple[Match, ...]:
    """The best first."""
    return self.best, *(m for m in self.among if m != self.best)

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """Holds where it does against each; fails where it does against one."""
    best, *others = found
    verdict = worst([_less(best, other)[0] for other in others])
    top = max(range(len(others)), key=lambda i: others[i].estimate.mean)
    rival = self.matches[1 + top].name
    text = f"{_numbers(best)}, best other {_numbers(others[top])} ({rival})"
    return verdict, text

  def testable(self, found: Sequence[Found]) -> bool:
    """Against all others."""
    return _can_reach(found[0], found[1:])


@dataclasses.dataclass(frozen=True)
class Unbeaten(Best):
  """No other match is won more often than this one."""

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """Fails against one that is resolved to win more; noise is no defeat."""
    verdict, text = super().judge(found, measure)
    return UNOPPOSED if verdict == NOISE else verdict, text


@dataclasses.dataclass(frozen=True)
class Steady(Claim):
  """The matches differ by no more than the paper's do."""

  over: tuple[Match, ...]
  within: float

  @property
  def matches(self) -> tuple[Match, ...]:
    """All."""
    return self.over

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """The range must be within the paper's; beyond, by more than the noise."""
    if measure == "efficiency":
      return NONE, ""  # the paper's range is one of win rates
    low, *_, high = sorted(found, key=lambda each: each.estimate.mean)
    numbers = f"from {_numbers(low)} to {_numbers(high)}"
    verdict, estimate = _less(high, low)
    over = estimate.mean - self.within
    if over <= 0:
      return UNOPPOSED, numbers
    # The bounds of the range less what the paper's allows.
    beyond = estimate.low - self.within > 0
    return (FAILS if verdict == HOLDS and beyond else NOISE), numbers


@dataclasses.dataclass(frozen=True)
class Rises(Claim):
  """Each match is won at least as often as the one before."""

  over: tuple[Match, ...]

  @property
  def matches(self) -> tuple[Match, ...]:
    """All, in the order in which they rise."""
    return self.over

  def judge(self, found: Sequence[Found], measure: Measure) -> tuple[str, str]:
    """The last over the first, and no resolved fall between neighbours."""
    falls = [_less(b, a)[0] for a, b in itertools.pairwise(found)]
    whole = _less(found[-1], found[0])[0]
    verdict = FAILS if FAILS in falls else whole
    if verdict == NOISE:
      verdict = UNOPPOSED
    shares = (f"{each.estimate.mean:.3f}" for each in found)
    return verdict, ", ".join(shares)


def _less(a: Found, b: Found) -> tuple[str, Estimate]:
  """Whether a's mean is above b's, and the difference."""
  estimate = differences.difference(a.values, b.values)
  return resolve(estimate), estimate


def _can_reach(one: Found, others: Sequence[Found]) -> bool:
  """Whether the optimum of one's tau wins more than each of the others."""
  if one.ceiling is None:
    return True
  return one.ceiling > max(other.estimate.mean for other in others)


def _ceiling(one: Found) -> str:
  said = f"the exact optimum of this tau wins {one.ceiling:.3f} against SFT"
  if one.rival is not None:
    said += f", the rival {one.rival:.3f}"
  return said


def _numbers(one: Found, sign: str = "") -> str:
  return f"{one.estimate.mean:{sign}.3f} ± {one.estimate.se:.3f}"
