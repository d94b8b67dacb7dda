"""Rewards on a scale of mean 0 and variance 1."""

import dataclasses

import numpy as np

from offalign.errors import UserError


@dataclasses.dataclass(frozen=True)
class RewardScale:
  """What was subtracted from the rewards, and what they were divided by.

  Made from the training rows, stored with a checkpoint, and applied to every
  other reward of the run.

  Attributes:
    mean: in the units of the logged rewards.
    std: the same; above 0, but 0 for a prompt whose rewards are all equal.
  """

  mean: float
  std: float

  def apply(self, rewards: np.ndarray) -> np.ndarray:
    """Logged rewards, of any shape -> normalised ones, float32."""
    scaled = (np.asarray(rewards, np.float64) - self.mean) / self.std
    return scaled.astype(np.float32)


def normalize(
  rewards: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, RewardScale]:
  """Scales rewards to mean 0 and variance 1 over all their entries.

  Args:
    rewards: [N, K] or any other shape; finite.
    weights: [N], what the rows count in mean and variance; default: alike.

  Returns:
    The scaled rewards, float32, and the scale.

  Raises:
    UserError: where all rewards are the same, or so large that their variance
      is no finite number.
  """
  wide = np.asarray(rewards, np.float64)
  if wide.size == 0 or wide.min() == wide.max():
    raise UserError(
      "the rewards cannot be normalised: all of them are "
      f"{wide.flat[0] if wide.size else 'absent'}; there is nothing to learn "
      "from them"
    )
  with np.errstate(over="ignore", invalid="ignore"):
    scale = _moments(wide, weights)
  if not (np.isfinite(scale.mean) and np.isfinite(scale.std) and scale.std > 0):
    raise UserError(
      "the rewards cannot be normalised: their range, "
      f"{wide.min():g} to {wide.max():g}, is out of proportion"
    )
  return scale.apply(wide), scale


def _moments(wide: np.ndarray, weights: np.ndarray | None) -> RewardScale:
  if weights is None:
    return RewardScale(float(wide.mean()), float(wide.std()))
  share = np.broadcast_to(weights[:, None], wide.shape)
  mean = float(np.average(wide, weights=share))
  variance = np.average((wide - mean) ** 2, weights=share)
  return RewardScale(mean, float(np.sqrt(variance)))
