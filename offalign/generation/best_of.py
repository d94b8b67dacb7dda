"""Best of n: of n completions of a prompt, the one of highest score.

Its distance from the policy that drew them has a bound that needs no model,
log n - (n - 1) / n nats. The bound is the KL where no two draws can have the
same score; where they can, the KL is smaller (arXiv:2401.01879), and
`kl_estimate` says about how much.
"""

import dataclasses
import math
import zlib

import numpy as np

from offalign.errors import UserError, option

BEST, RANDOM = "best", "random"


@dataclasses.dataclass(frozen=True)
class Chosen:
  """One completion of each of P prompts, chosen out of n.

  Attributes:
    places: int [P], which of the n.
    scores: float64 [P, n], of all; NaN of one without a score.
    select: "best", or "random" for the control.
  """

  places: np.ndarray
  scores: np.ndarray
  select: str

  def summary(self) -> str:
    """Says in a sentence what was gained, and at what KL."""
    n = self.scores.shape[1]
    rows = np.arange(len(self.places))
    chosen = self.scores[rows, self.places]
    known = chosen[np.isfinite(chosen)]  # the control may take one without
    kept = known.mean() if len(known) else math.nan
    mean = np.nanmean(self.scores)
    said = f"score {kept:.4g} of the chosen, {mean:.4g} of all"
    if self.select == RANDOM:
      return f"{self.select} of {n}: {said}; the KL from the policy is 0"
    found, error = kl_estimate(self.scores)
    about = "" if math.isnan(error) else f" +- {error:.2g}"
    return (
      f"{self.select} of {n}: {said}; KL from the policy at most "
      f"{kl_bound(n):.4f} nats, estimated from ties {found:.4f}{about}"
    )


def choose(scores: np.ndarray, select: str = BEST, seed: int = 0) -> Chosen:
  """Chooses one of n completions of each prompt.

  Args:
    scores: [P, n], finite, or NaN of one without a score, which is not the
      best.
    select: "best" takes the highest score, and the first of equals, which is
      any of them since the draws are alike; "random" takes one without looking,
      the control for what choosing by score does.
    seed: of the random choice.

  Raises:
    UserError: for another `select`, or a prompt without a score.
  """
  unscored = int(np.isnan(scores).all(axis=1).sum())
  if unscored:
    raise UserError(
      f"of {unscored:,} of {len(scores):,} prompts no completion has a score, "
      "so there is no best: see what scores them"
    )
  if select == BEST:
    return Chosen(np.nanargmax(scores, axis=1), scores, select)
  if select != RANDOM:
    raise UserError(
      f"{option('select', repr(select))} is none of {BEST} and {RANDOM}"
    )
  rng = np.random.default_rng([zlib.crc32(b"best of n, control"), seed])
  prompts, n = scores.shape
  return Chosen(rng.integers(n, size=(prompts,)), scores, select)


def kl_bound(n: int) -> float:
  """The bound on KL(best of n || policy), log n - (n - 1) / n; nats.

  >>> round(kl_bound(4), 4), kl_bound(1)
  (0.6363, 0.0)
  """
  return math.log(n) - (n - 1) / n


def kl_estimate(scores: np.ndarray) -> tuple[float, float]:
  """Estimates KL(best of n || policy) from the scores of the draws.

  Of draws that are alike, which of equals is chosen is chance, so the KL is
  that between distributions of the score: with F the chance of a score of at
  most s, and F- of a lower one, a score s has P = F^n - F-^n under best of n
  and p = F - F- under the policy, and KL = sum of P log(P / p). Scores without
  ties give the bound; each score that several draws can have takes from it
  what is lost by not telling them apart. Here F is the share among the n draws
  themselves, and a score that only one draw has counts as without ties. The
  estimate comes closer with n, lies between 0 and the bound, and is not
  unbiased: nothing computed from n draws is, since the KL is no polynomial in
  the probabilities.

  Args:
    scores: [P, n], of n draws for each of P prompts; those without one, NaN,
      rank as one lowest score.

  Returns:
    The mean over prompts, in nats, and its standard error; NaN of one prompt.
  """
  ranked = np.where(np.isnan(scores), -np.inf, scores)
  found = np.array([_of_prompt(row) for row in ranked])
  if len(found) < 2:
    return float(found.mean()), math.nan
  error = found.std(ddof=1) / math.sqrt(len(found))
  return float(found.mean()), float(error)


def _of_prompt(scores: np.ndarray) -> float:
  n = len(scores)
  _, counts = np.unique(scores, return_counts=True)
  if counts.max() == 1:
    return kl_bound(n)
  high = np.cumsum(counts) / n
  low = high - counts / n
  tied = counts > 1
  mass = high**n - low**n
  atoms = mass * np.log(mass / (high - low))
  return float(np.where(tied, atoms, _smooth(high, n) - _smooth(low, n)).sum())


def _smooth(u: np.ndarray, n: int) -> np.ndarray:
  """The integral from 0 to u of n v^(n-1) log(n v^(n-1))."""
  safe = np.maximum(u, 1e-300)
  inner = math.log(n) + (n - 1) * (np.log(safe) - 1 / n)
  return np.where(u > 0, u**n * inner, 0.0)
