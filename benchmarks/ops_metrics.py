"""Win rates, folds and the reward-KL frontier of the `ops` track.

The judge is the gold reward without offset; a tie counts half. Win rate
alone rewards whoever spends the most KL, so the frontier says what the same
KL could have bought: pi_t ~ pi_ref exp(r / t) is the policy of most reward
among those of its KL, and is estimated here by reweighting samples of pi_ref.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from offalign.errors import UserError

TAUS = tuple(np.geomspace(100.0, 0.01, 121).tolist())
"""A grid fine enough to interpolate on, from no tilt to the best sample."""


def win_rate(a: np.ndarray, b: np.ndarray) -> float:
  """How often a beats b, ties 1/2: rewards of the same prompts, same shape."""
  return float(wins(a, b).mean())


def wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """1 where a's reward is higher, 1/2 at a tie, 0 where b's is: [n]."""
  return (a > b) + 0.5 * (a == b)


def folds(a: np.ndarray, b: np.ndarray, count: int = 5) -> np.ndarray:
  """Win rates of a over b on `count` disjoint runs of prompts.

  Args:
    a: [n] rewards, one a prompt.
    b: [n] rewards on the same prompts.
    count: folds; the first n mod count have one prompt more.

  Returns:
    [count]; their standard deviation (ddof=1) is the fold sd of the boards.

  Raises:
    UserError: for more folds than prompts.
  """
  if not 1 <= count <= len(a):
    raise UserError(f"cannot cut {len(a)} prompts into {count} folds")
  return np.array([fold.mean() for fold in np.array_split(wins(a, b), count)])


def head_to_head(
  rewards: Mapping[str, np.ndarray],
) -> dict[str, dict[str, float]]:
  """Every policy against every other: out[a][b] is the win rate of a over b.

  Args:
    rewards: policy -> [n] rewards on the same prompts.
  """
  return {
    a: {b: win_rate(rewards[a], rewards[b]) for b in rewards if b != a}
    for a in rewards
  }


@dataclasses.dataclass(frozen=True)
class Frontier:
  """The exact tilt of the reference at several tau, in order of rising KL.

  Attributes:
    taus: [G] on the scale of the normalised reward, falling.
    kl: [G] KL(pi_t || pi_ref) in nats, mean over prompts.
    gain: [G] E_pi_t R - E_ref R, in units of R.
    win: [G] win rate against a fresh sample of the reference.
    ess: [G] effective sample size, mean over prompts; of n.
    base: E_ref R.
  """

  taus: np.ndarray
  kl: np.ndarray
  gain: np.ndarray
  win: np.ndarray
  ess: np.ndarray
  base: float

  def efficiency(self, gain: float, kl: float) -> float:
    """A policy's reward gain as a share of the frontier's at the same KL.

    The frontier is interpolated in sqrt(KL), in which it starts as a
    straight line, from no gain at no KL; beyond its last point it is flat,
    which flatters whoever spends more KL than that.

    Args:
      gain: E_pi R - E_ref R, in units of R.
      kl: KL(pi || pi_ref), nats.

    Returns:
      The share: 1 on the frontier, negative where reward was lost; NaN where
      the KL is not above 0 and there is nothing to compare with.
    """
    if not kl > 0:
      return math.nan
    roots = np.sqrt(np.concatenate([[0.0], self.kl]))
    best = np.interp(math.sqrt(kl), roots, np.concatenate([[0.0], self.gain]))
    return float(gain / best) if best > 0 else math.nan


def frontier(
  rewards: np.ndarray,
  fresh: np.ndarray,
  *,
  scale: float,
  taus: tuple[float, ...] = TAUS,
) -> Frontier:
  """Estimates the frontier by self-normalised importance sampling.

  Per prompt, n samples of pi_ref get weights ~ exp(R / (scale tau)). Then
  KL = E_pi_t[R] / (scale tau) - log Z with Z the mean of the unnormalised
  weights, which is at most log n: at small tau both KL and gain fall short
  of the truth, and `ess` says when. An offset per prompt would cancel, so R
  is the judge's reward; an offset enters through `scale` alone.

  Args:
    rewards: [X, n] gold rewards R of samples of the reference.
    fresh: [X, m] rewards of further samples of it, to win against.
    scale: what R (with its offset) was divided by to have variance 1.
    taus: > 0, any order.

  Raises:
    UserError: for a tau or a scale that is not above 0.
  """
  if not scale > 0:
    raise UserError(f"scale must be above 0, not {scale}")
  if not taus or min(taus) <= 0:
    raise UserError(f"every tau must be above 0: {taus}")
  base = float(rewards.mean())
  beats = win_chances(rewards, fresh)
  rows = []
  falling = np.sort(np.asarray(taus, float))[::-1]
  for tau in falling:
    tilt = rewards / (scale * tau)
    top = tilt.max(axis=1, keepdims=True)
    raw = np.exp(tilt - top)
    weight = raw / raw.sum(axis=1, keepdims=True)
    log_z = np.log(raw.mean(axis=1)) + top[:, 0]
    rows.append(
      (
        ((weight * tilt).sum(axis=1) - log_z).mean(),
        (weight * rewards).sum(axis=1).mean() - base,
        (weight * beats).sum(axis=1).mean(),
        (1 / np.square(weight).sum(axis=1)).mean(),
      )
    )
  kl, gain, win, ess = np.array(rows).T
  # Both rise as tau falls; the accumulation takes out rounding alone.
  return Frontier(
    taus=falling,
    kl=np.maximum.accumulate(np.maximum(kl, 0.0)),
    gain=np.maximum.accumulate(np.maximum(gain, 0.0)),
    win=win,
    ess=ess,
    base=base,
  )


def about(frontier: Frontier, samples: int) -> str:
  """What the estimated frontier cannot show, in a sentence for the board.

  Args:
    frontier: of `samples` samples a prompt.
    samples: how many.
  """
  last = float(frontier.kl[-1])
  return (
    f"the frontier of eff is estimated from {samples} samples of the reference "
    f"a prompt, on the test prompts. Its KL can be log {samples} = "
    f"{math.log(samples):.2f} nats at most and reaches {last:.2f}; at small "
    "tau both its KL and its gain fall short of the truth, and eff of a KL "
    f"above {last:.2f} compares with its last point, which flatters."
  )


def win_chances(rewards: np.ndarray, fresh: np.ndarray) -> np.ndarray:
  """Each sample's chance to beat a fresh one: [X, n], [X, m] -> [X, n]."""
  return wins(rewards[:, :, None], fresh[:, None, :]).mean(axis=2)


@dataclasses.dataclass(frozen=True)
class BestOfN:
  """Sampling n times and keeping the sample of highest gold reward.

  Attributes:
    n: samples to choose from.
    win: win rate against one fresh sample of the reference.
    reward: expected R.
    kl_bound: log n - (n - 1) / n, an upper bound on its KL; nats.
  """

  n: int
  win: float
  reward: float
  kl_bound: float


def best_of_n(rewards: np.ndarray, fresh: np.ndarray, n: int) -> BestOfN:
  """Exact over all choices of n of the N samples of each prompt.

  The i-th smallest of N samples is the largest of n chosen without
  replacement with probability C(i - 1, n - 1) / C(N, n).

  Args:
    rewards: [X, N] gold rewards of samples of the reference.
    fresh: [X, m] rewards of further samples of it, to win against.
    n: 1 .. N.

  Raises:
    UserError: for an n out of range.
  """
  total = rewards.shape[1]
  if not 1 <= n <= total:
    raise UserError(f"best of {n} needs between 1 and {total} samples")
  ways = [math.comb(i, n - 1) / math.comb(total, n) for i in range(total)]
  order = np.argsort(rewards, axis=1, kind="stable")
  ranked = np.take_along_axis(rewards, order, axis=1)
  beats = np.take_along_axis(win_chances(rewards, fresh), order, axis=1)
  return BestOfN(
    n=n,
    win=float((beats @ ways).mean()),
    reward=float((ranked @ ways).mean()),
    kl_bound=math.log(n) - (n - 1) / n,
  )
