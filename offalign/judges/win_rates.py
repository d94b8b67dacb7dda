"""Win rates: folds, confidence intervals, and length control.

A judge's preferences, 1, 1/2 or 0 (or between, where it was asked twice),
are averaged within each prompt first: the prompts are what was sampled, so
they are the units of every mean, fold and interval here. All of it is
symmetric: exchanging the contestants turns w into 1 - w.
"""

import dataclasses
import statistics
from collections.abc import Hashable, Sequence

import numpy as np

from offalign.errors import UserError
from offalign.statistics import outcomes as outcomes_lib
from offalign.statistics.intervals import of_mean
from offalign.statistics.intervals import wilson as wilson

FOLDS = 5
"""The DRO paper's: "5 evaluation folds of 1,000 test prompts each"."""

_RESAMPLES = 1000
_AT_ONCE = 1 << 20  # numbers of resamples, to bound memory
_RIDGE = 1.0  # on the length's weight, as scikit-learn's C = 1


@dataclasses.dataclass(frozen=True)
class WinRate:
  """How often one contestant is preferred to another.

  Attributes:
    rate: mean over prompts of the mean preference, ties 1/2.
    low: lower end of the 95% interval, over prompts: Wilson's, narrowed by
      what ties leave of its variance, see `statistics.intervals.of_mean`.
    high: upper end.
    folds: the rate in each fold; () where there are fewer prompts than folds.
    prompts: how many were judged.
    comparisons: how many were judged.
    ties: share of the comparisons that are ties.
    length_controlled: the rate if the lengths did not differ, see
      `length_controlled`; None where no lengths were given.
    length_low: lower end of its 95% interval, by bootstrap over prompts.
    length_high: upper end.
    unfinished: shares of the first and the second completions that did not
      end within their limit of tokens; None where it is not known.
    outcomes: the mean preference of each prompt, in the order in which they
      first come; NaN for one without a verdict.
    prompt_set: digest of these prompts; "" where none were named.
  """

  rate: float
  low: float
  high: float
  folds: tuple[float, ...]
  prompts: int
  comparisons: int
  ties: float
  length_controlled: float | None = None
  length_low: float | None = None
  length_high: float | None = None
  unfinished: tuple[float | None, float | None] = (None, None)
  outcomes: tuple[float, ...] = dataclasses.field(default=(), repr=False)
  prompt_set: str = ""

  @property
  def se(self) -> float | None:
    """The standard error of the rate, over prompts; None of a single one."""
    known = [x for x in self.outcomes if x == x]
    if len(known) < 2:
      return None
    return statistics.stdev(known) / len(known) ** 0.5

  @property
  def fold_sd(self) -> float | None:
    """The folds' sample standard deviation (n - 1)."""
    return statistics.stdev(self.folds) if len(self.folds) > 1 else None


def win_rate(
  preferences: Sequence[float] | np.ndarray,
  prompts: Sequence[Hashable] | None = None,
  lengths: tuple[Sequence[int], Sequence[int]] | None = None,
  *,
  folds: int = FOLDS,
  seed: int = 0,
) -> WinRate:
  """The win rate of the first contestant, with all that is said of it.

  Args:
    preferences: [N] in [0, 1]; NaN where there is no verdict, which leaves
      the comparison out of everything.
    prompts: [N], which prompt each is of; default: each of its own.
    lengths: of the first and the second completions, [N] each.
    folds: disjoint runs of the prompts in their order; the first ones have
      one more where they do not divide.
    seed: of the bootstrap.

  Raises:
    UserError: for no verdict at all, or a preference out of range.
  """
  y = np.asarray(preferences, np.float64)
  judged = ~np.isnan(y)
  if not judged.any():
    raise UserError("no comparison has a verdict, so there is no win rate")
  if not ((y[judged] >= 0) & (y[judged] <= 1)).all():
    raise UserError("a preference lies between 0 and 1")
  if folds < 2:
    raise UserError(f"there must be at least 2 folds, not {folds}")
  named = range(len(y)) if prompts is None else prompts
  everywhere = _numbers(named)
  groups = everywhere[judged]
  y, group = y[judged], _numbers(groups.tolist())
  means = np.bincount(group, y) / np.bincount(group)
  outcomes = np.full(everywhere.max() + 1, np.nan)
  outcomes[list(dict.fromkeys(groups.tolist()))] = means
  low, high = of_mean(means)
  cut: tuple[float, ...] = ()
  if len(means) >= folds:
    cut = tuple(float(x.mean()) for x in np.array_split(means, folds))
  found = WinRate(
    rate=float(means.mean()),
    low=low,
    high=high,
    folds=cut,
    prompts=len(means),
    comparisons=len(y),
    ties=float((y == 0.5).mean()),
    outcomes=tuple(outcomes.tolist()),
    prompt_set=""
    if prompts is None
    else outcomes_lib.prompt_set(dict.fromkeys(prompts)),
  )
  if lengths is None:
    return found
  a, b = (np.asarray(x, np.float64)[judged] for x in lengths)
  controlled, *ends = length_controlled(y, a - b, group, seed=seed)
  return dataclasses.replace(
    found,
    length_controlled=controlled,
    length_low=ends[0],
    length_high=ends[1],
  )


def length_controlled(
  preferences: np.ndarray,
  difference: np.ndarray,
  group: np.ndarray,
  *,
  seed: int = 0,
) -> tuple[float, float, float]:
  """The win rate that a model of the judge foretells at equal lengths.

  The model is that of AlpacaEval 2 (arXiv:2404.04475, equation 1) without
  its term for the instruction, which takes many contestants to fit:

    P(a preferred) = sigmoid(theta + phi tanh((len a - len b) / s)),

  s the standard deviation of the differences, theta and phi by maximum
  likelihood with a penalty phi^2 / 2. The rate is sigmoid(theta), equation 2
  there. Where all differences are equal, it is the plain rate.

  Args:
    preferences: [N] in [0, 1].
    difference: [N] of the lengths.
    group: int [N], prompts from 0; each prompt weighs the same.
    seed: of the bootstrap over prompts.

  Returns:
    The rate and the ends of its 95% percentile interval.
  """
  spread = difference.std()
  # Below rounding there is no spread, and nothing to be told by it.
  flat = spread <= 1e-9 * max(float(np.abs(difference).max()), 1.0)
  x = np.zeros_like(difference) if flat else np.tanh(difference / spread)
  n = int(group.max()) + 1
  each = 1.0 / np.bincount(group)[group]
  draws = np.random.default_rng(seed).multinomial(
    n, np.full(n, 1 / n), _RESAMPLES
  )
  times = np.concatenate([np.ones((1, n)), draws])
  step = max(_AT_ONCE // len(x), 1)
  rates = np.concatenate(
    [
      _intercepts(preferences, x, times[i : i + step][:, group] * each)
      for i in range(0, len(times), step)
    ]
  )
  low, high = np.quantile(rates[1:], [0.025, 0.975])
  return float(rates[0]), float(low), float(high)


def _intercepts(
  y: np.ndarray, x: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """sigmoid(theta) of the fit under each row of weights [R, N]; [R]."""
  total = weights.sum(axis=1)
  mean = weights @ y / total
  # Of those alone that are not all won or all lost, theta is finite.
  inside = (mean > 0) & (mean < 1)
  w, theta = weights[inside], _logit(mean[inside])
  phi = np.zeros_like(theta)
  for _ in range(100):
    p = 1 / (1 + np.exp(-(theta[:, None] + phi[:, None] * x)))
    gap, curve = w * (p - y), w * p * (1 - p)
    g0, g1 = gap.sum(axis=1), gap @ x + _RIDGE * phi
    h00, h01 = curve.sum(axis=1), curve @ x
    h11 = curve @ (x * x) + _RIDGE
    det = np.maximum(h00 * h11 - h01 * h01, 1e-300)
    step0 = np.clip((h11 * g0 - h01 * g1) / det, -1, 1)
    step1 = np.clip((h00 * g1 - h01 * g0) / det, -1, 1)
    theta, phi = theta - step0, phi - step1
    if max(np.abs(step0).max(initial=0), np.abs(step1).max(initial=0)) < 1e-10:
      break
  rates = mean.copy()
  rates[inside] = 1 / (1 + np.exp(-theta))
  return rates


def _logit(p: np.ndarray) -> np.ndarray:
  return np.log(p) - np.log1p(-p)


def _numbers(items: Sequence[Hashable]) -> np.ndarray:
  """int [N]: items numbered from 0 by their first appearance."""
  known: dict[Hashable, int] = {}
  return np.array([known.setdefault(item, len(known)) for item in items])
