"""Off-policy estimates of a policy's mean reward, with intervals.

Importance sampling weighs each logged completion y of a prompt x by
w = pi_new(y|x) / pi_logged(y|x). Self-normalised, it is sum w r / sum w. The
direct method asks a model of the reward about the new policy's own samples,
and the doubly robust estimate corrects it by the weighted error of that model
on the log (Dudik et al., arXiv:1103.4601, equation 1; self-normalised as in
Thomas and Brunskill, arXiv:1604.00923, section 4). A model's scores are brought
to the rewards by the line that fits the log best. A prompt counts as often as
the log has completions of it, in all estimates and in the log's own mean.
Intervals are from a bootstrap over prompts, since completions of one prompt are
not independent; the line is fitted anew in each resample.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from offalign.errors import UserError

LEAST = 150.0
"""Effective completions below which nothing is said: with less, intervals of
95% cover the truth too seldom (docs/estimating.md)."""

LEAST_SHARE = 0.01
"""The effective completions' share of the log, below which likewise."""

HALF = 0.5
"""Mean weight that says that half of the policy's mass is not in the log."""

RESAMPLES = 2000
_BLOCK = 2_000_000  # counts held at a time


@dataclasses.dataclass(frozen=True)
class Evidence:
  """What a log of n completions of m prompts says about a new policy.

  Attributes:
    prompts: int [n], the prompt of each completion, 0 .. m - 1.
    rewards: float [n], as logged.
    log_weights: float [n], log pi_new - log pi_logged of each completion, nats.
    modelled: float [n], a reward model's score of each logged completion, on
      any scale; or None without a model.
    direct: float [m], the model's mean score of the new policy's own samples
      of each prompt; or None without a model.
  """

  prompts: np.ndarray
  rewards: np.ndarray
  log_weights: np.ndarray
  modelled: np.ndarray | None = None
  direct: np.ndarray | None = None

  def __post_init__(self) -> None:
    """Checks shapes and numbers.

    Raises:
      UserError: for no completion, columns of other lengths, numbers that are
        not finite, or a model of logged completions alone, or of samples alone.
    """
    n = len(self.rewards)
    if not n:
      raise UserError("the log has no completion")
    if (self.modelled is None) != (self.direct is None):
      raise UserError(
        "a reward model has to score the logged completions and the policy's "
        "own samples, not one of them alone"
      )
    named: Mapping[str, np.ndarray | None] = {
      "rewards": self.rewards,
      "log_weights": self.log_weights,
      "modelled": self.modelled,
    }
    for name, column in named.items():
      if column is not None and column.shape != (n,):
        raise UserError(f"{name} has the shape {column.shape}, not {(n,)}")
    m = int(self.prompts.max()) + 1
    if self.direct is not None and self.direct.shape != (m,):
      raise UserError(f"direct has the shape {self.direct.shape}, not {(m,)}")
    for name, column in (*named.items(), ("direct", self.direct)):
      if column is not None and not np.isfinite(column).all():
        raise UserError(f"{name} has numbers that are not finite")


@dataclasses.dataclass(frozen=True)
class Estimate:
  """One estimate of the new policy's mean reward.

  Attributes:
    value: in units of the logged rewards.
    low: of the 95% interval.
    high: of it.
    gain: less the log's own mean reward.
    gain_low: of the 95% interval of the gain, paired by prompt.
    gain_high: of it.
  """

  value: float
  low: float
  high: float
  gain: float
  gain_low: float
  gain_high: float


@dataclasses.dataclass(frozen=True)
class Report:
  """What the log says.

  Attributes:
    completions: n.
    prompts: m.
    logged: the log's mean reward: what wrote the log is worth.
    effective: effective completions, (sum w)^2 / sum w^2.
    largest: the largest share of all weight that one completion has.
    mean_weight: the mean of w; about 1 where the log covers the policy.
    mean_weight_high: the upper end of its 95% interval.
    estimates: "importance", and with a reward model "direct" and
      "doubly robust"; {} where the log says nothing.
    refusal: why nothing is said, in a sentence; "" where something is.
  """

  completions: int
  prompts: int
  logged: float
  effective: float
  largest: float
  mean_weight: float
  mean_weight_high: float
  estimates: Mapping[str, Estimate]
  refusal: str = ""


def estimate(
  evidence: Evidence,
  *,
  resamples: int = RESAMPLES,
  seed: int = 0,
  least: float = LEAST,
) -> Report:
  """Estimates what the new policy is worth.

  Args:
    evidence: the log.
    resamples: of the bootstrap.
    seed: of the bootstrap.
    least: effective completions below which nothing is said.

  Returns:
    A report without estimates where the support is too thin for any.
  """
  count = np.bincount(evidence.prompts)
  kept = count > 0
  # Weights up to a factor for the ratios; the mean weight needs the factor.
  top = float(evidence.log_weights.max())
  weight = np.exp(evidence.log_weights - top)
  sums = _Sums.of(evidence, weight, kept)
  effective = float(weight.sum() ** 2 / np.square(weight).sum())
  largest = float(weight.max() / weight.sum())
  rng = np.random.default_rng(seed)
  drawn = sums.resampled(resamples, rng)
  scale = np.exp(min(top, 700.0))
  mean_weights = scale * drawn.weight / drawn.count
  high = float(np.quantile(mean_weights, 0.975))
  report = Report(
    completions=len(evidence.rewards),
    prompts=int(kept.sum()),
    logged=float(evidence.rewards.mean()),
    effective=effective,
    largest=largest,
    mean_weight=float(scale * weight.mean()),
    mean_weight_high=high,
    estimates={},
    refusal=_refusal(evidence, effective, high, least),
  )
  if report.refusal:
    return report
  whole, logged = sums.total(), drawn.reward / drawn.count
  found = {}
  for name, of in _ESTIMATORS.items():
    if name != "importance" and evidence.direct is None:
      continue
    value, values = float(of(whole)), of(drawn)
    low, high = np.quantile(values, (0.025, 0.975))
    gains = values - logged
    gain_low, gain_high = np.quantile(gains, (0.025, 0.975))
    found[name] = Estimate(
      value=value,
      low=float(low),
      high=float(high),
      gain=value - report.logged,
      gain_low=float(gain_low),
      gain_high=float(gain_high),
    )
  return dataclasses.replace(report, estimates=found)


@dataclasses.dataclass(frozen=True)
class _Sums:
  """Sums over the completions of each prompt [m], or of each resample [R]."""

  count: np.ndarray
  reward: np.ndarray
  weight: np.ndarray
  weighted: np.ndarray  # sum w r
  model: np.ndarray
  squares: np.ndarray  # sum modelled^2
  product: np.ndarray  # sum modelled r
  weighted_model: np.ndarray  # sum w modelled
  direct: np.ndarray  # once for each completion

  @classmethod
  def of(
    cls, evidence: Evidence, weight: np.ndarray, kept: np.ndarray
  ) -> "_Sums":
    def total(column: np.ndarray) -> np.ndarray:
      return np.bincount(evidence.prompts, column, len(kept))[kept]

    rewards, modelled = evidence.rewards, evidence.modelled
    none = np.zeros(len(rewards))
    direct = none
    if evidence.direct is not None:
      assert modelled is not None
      # About their mean, so that squares lose no digits.
      direct = evidence.direct[evidence.prompts] - modelled.mean()
    model = none if modelled is None else modelled - modelled.mean()
    return cls(
      count=total(np.ones(len(weight))),
      reward=total(rewards),
      weight=total(weight),
      weighted=total(weight * rewards),
      model=total(model),
      squares=total(model**2),
      product=total(model * rewards),
      weighted_model=total(weight * model),
      direct=total(direct),
    )

  def total(self) -> "_Sums":
    """Over all prompts."""
    return _Sums(*(x.sum() for x in self._columns()))

  def resampled(self, times: int, rng: np.random.Generator) -> "_Sums":
    """Over prompts drawn with replacement, `times` times: [times] each."""
    m = len(self.count)
    columns = np.stack(self._columns(), axis=1)
    block = max(1, _BLOCK // m)
    out = np.empty((times, columns.shape[1]))
    for begin in range(0, times, block):
      size = min(block, times - begin)
      counts = rng.multinomial(m, np.full(m, 1 / m), size)
      out[begin : begin + size] = counts @ columns
    return _Sums(*out.T)

  def _columns(self) -> list[np.ndarray]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]

  @property
  def importance(self) -> np.ndarray:
    return self.weighted / self.weight

  @property
  def slope(self) -> np.ndarray:
    """Of the least-squares line from the model to the rewards; 0 of none."""
    n = self.count
    spread = self.squares - self.model**2 / n
    with_reward = self.product - self.model * self.reward / n
    flat = spread <= 1e-12 * self.squares
    return np.where(flat, 0.0, with_reward / np.where(flat, 1.0, spread))

  @property
  def direct_method(self) -> np.ndarray:
    gap = (self.direct - self.model) / self.count
    return self.reward / self.count + self.slope * gap

  @property
  def doubly_robust(self) -> np.ndarray:
    # The line's constant is in both terms, and cancels.
    gap = self.direct / self.count - self.weighted_model / self.weight
    return self.importance + self.slope * gap


_ESTIMATORS = {
  "importance": lambda s: s.importance,
  "direct": lambda s: s.direct_method,
  "doubly robust": lambda s: s.doubly_robust,
}


def _refusal(
  evidence: Evidence, effective: float, mean_high: float, least: float
) -> str:
  """Why the log cannot say what the policy is worth; "" where it can."""
  n = len(evidence.rewards)
  most = "sample the policy and have its completions rated"
  least = max(least, LEAST_SHARE * n)
  if n < least:
    return (
      f"the log has {n:,} rated completions, and at least {least:.0f} are "
      f"needed for any policy; {most}"
    )
  if effective < least:
    return (
      f"the {n:,} logged completions count for {effective:.1f} under the new "
      f"policy (at least {least:.0f} are needed): it "
      f"hardly writes what was logged; {most}"
    )
  if mean_high < HALF:
    return (
      f"the mean weight is at most {mean_high:.2f} where it should be 1: most "
      "of what the new policy writes is not in the log, or another policy than "
      f"the one named wrote it; {most}"
    )
  return ""
