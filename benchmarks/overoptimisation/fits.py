"""Curves of gold reward over KL: their peak, and the paper's forms fitted."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from benchmarks.overoptimisation.points import Point

RESAMPLES = 1000
SURE = 0.975


@dataclasses.dataclass(frozen=True)
class Curve:
  """One line over strengths, which are in order of rising KL.

  Attributes:
    strengths: [S].
    kl: [S] nats, means over seeds.
    gold: [S] means over seeds.
    proxy: [S] likewise.
    folds: [seeds, S, FOLDS] gold gains.
  """

  strengths: np.ndarray
  kl: np.ndarray
  gold: np.ndarray
  proxy: np.ndarray
  folds: np.ndarray


def curve(points: Sequence[Point]) -> Curve:
  """The curve of one label's points; seeds without all strengths are left out.

  Raises:
    ValueError: where no seed has all strengths.
  """
  strengths = sorted({point.strength for point in points})
  found = {(point.seed, point.strength): point for point in points}
  seeds = [
    seed
    for seed in sorted({point.seed for point in points})
    if all((seed, strength) in found for strength in strengths)
  ]
  if not seeds:
    raise ValueError("no seed has all strengths")
  table = [[found[seed, s] for s in strengths] for seed in seeds]
  kl = np.array([[p.kl for p in row] for row in table]).mean(axis=0)
  order = np.argsort(kl, kind="stable")
  folds = np.array([[p.folds for p in row] for row in table])
  proxy = np.array([[p.proxy_gain for p in row] for row in table])
  gold = np.array([[p.gold for p in row] for row in table])
  return Curve(
    np.array(strengths)[order],
    kl[order],
    gold.mean(axis=0)[order],
    proxy.mean(axis=0)[order],
    folds[:, order],
  )


@dataclasses.dataclass(frozen=True)
class Peak:
  """Where the gold reward is highest, and how sure it is that it falls after.

  Attributes:
    strength: at the highest mean.
    kl: there.
    gold: there.
    low: 95% interval of the peak's KL: of the peaks of resampled curves.
    high: of it.
    fall: from the peak to the end of the range.
    fall_low: 95% interval of the fall from this same peak.
    fall_high: of it.
    seen: whether the peak of 97.5% of the resampled curves lies before the end
      of the range and the interval of the fall is above 0.
  """

  strength: float
  kl: float
  gold: float
  low: float
  high: float
  fall: float
  fall_low: float
  fall_high: float
  seen: bool


def resample(folds: np.ndarray, seed: int = 0) -> np.ndarray:
  """Means of curves over seeds and folds, both drawn with replacement.

  Folds are drawn once for all seeds and strengths, since they are the same
  prompts.

  Args:
    folds: [seeds, S, F].
    seed: of the draws.

  Returns:
    [RESAMPLES, S].
  """
  rng = np.random.default_rng([seed, 31])
  seeds, _, count = folds.shape
  out = np.empty((RESAMPLES, folds.shape[1]))
  for i in range(RESAMPLES):
    picked = folds[rng.integers(seeds, size=seeds)]
    which = rng.integers(count, size=count)
    out[i] = picked.mean(axis=0)[:, which].mean(axis=1)
  return out


def peak(found: Curve) -> Peak:
  """The peak of a curve within its range, with bootstrap intervals."""
  at = int(found.gold.argmax())
  drawn = resample(found.folds)
  places = drawn.argmax(axis=1)
  low, high = np.quantile(found.kl[places], [1 - SURE, SURE])
  falls = drawn[:, at] - drawn[:, -1]
  fall_low, fall_high = np.quantile(falls, [1 - SURE, SURE])
  before = float((places < len(found.kl) - 1).mean())
  return Peak(
    strength=float(found.strengths[at]),
    kl=float(found.kl[at]),
    gold=float(found.gold[at]),
    low=float(low),
    high=float(high),
    fall=float(found.gold[at] - found.gold[-1]),
    fall_low=float(fall_low),
    fall_high=float(fall_high),
    seen=before >= SURE and bool(fall_low > 0),
  )


@dataclasses.dataclass(frozen=True)
class Fit:
  """A functional form, fitted by least squares to a curve of gold reward.

  Attributes:
    form: "d(alpha - beta d)" or "d(alpha - beta log d)", d = sqrt(KL).
    alpha: of it.
    beta: of it.
    residual: root mean square of gold less form.
    largest: the largest residual.
  """

  form: str
  alpha: float
  beta: float
  residual: float
  largest: float

  @property
  def peak(self) -> float:
    """The KL of the form's peak, nats; inf where it has none."""
    if not self.beta > 0:
      return math.inf
    if self.form == BEST_OF_FORM:
      return max(self.alpha / (2 * self.beta), 0.0) ** 2
    exponent = self.alpha / self.beta - 1
    return math.exp(2 * exponent) if exponent < 300 else math.inf


BEST_OF_FORM = "d(alpha - beta d)"
RL_FORM = "d(alpha - beta log d)"


def fit(kl: np.ndarray, gold: np.ndarray, form: str) -> Fit:
  """Fits one of the paper's two forms; points of no KL are left out.

  Args:
    kl: [S] nats.
    gold: [S] gains.
    form: `BEST_OF_FORM` or `RL_FORM`.
  """
  kept = kl > 1e-6
  d, y = np.sqrt(kl[kept]), gold[kept]
  second = -d * d if form == BEST_OF_FORM else -d * np.log(d)
  design = np.column_stack([d, second])
  (alpha, beta), *_ = np.linalg.lstsq(design, y, rcond=None)
  off = y - design @ [alpha, beta]
  return Fit(
    form,
    float(alpha),
    float(beta),
    float(np.sqrt(np.square(off).mean())),
    float(np.abs(off).max()),
  )


@dataclasses.dataclass(frozen=True)
class Difference:
  """Two lines at one strength: mean and 95% interval of a less b."""

  mean: float
  low: float
  high: float

  @property
  def is_sure(self) -> bool:
    """Whether the interval leaves out 0."""
    return self.low > 0 or self.high < 0


def difference(a: Curve, b: Curve, strength: float) -> Difference:
  """Gold of a less b at one strength, paired by seed and by fold.

  Args:
    a: a curve.
    b: a curve of the same seeds, strengths and prompts.
    strength: of both.
  """
  count = min(len(a.folds), len(b.folds))
  at = [int(np.flatnonzero(c.strengths == strength)[0]) for c in (a, b)]
  gap = a.folds[:count, at[0]] - b.folds[:count, at[1]]
  drawn = resample(gap[:, None])[:, 0]
  low, high = np.quantile(drawn, [1 - SURE, SURE])
  return Difference(float(gap.mean()), float(low), float(high))
