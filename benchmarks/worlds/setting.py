"""Which world, and what its log of feedback is like."""

import dataclasses

import numpy as np

from benchmarks import ops_sizes as sizes
from benchmarks.worlds.base import World
from benchmarks.worlds.edits import Edits
from benchmarks.worlds.ops import Ops
from benchmarks.worlds.sums import Sums
from offalign.errors import UserError

WORLDS: dict[str, World] = {
  world.name: world for world in (Ops(), Edits(), Sums())
}


@dataclasses.dataclass(frozen=True)
class Setting:
  """A world with its log.

  Attributes:
    world: prompts, demonstrators and judge.
    k: logged completions of a prompt. There are as many completions in all
      whatever k is. A world that gives its log has a k of its own.
    noise: standard deviation of the noise on each logged reward, in standard
      deviations of the rewards.
    binary: whether the log has 1 for a reward above the median and 0 else.
  """

  world: World = WORLDS["ops"]
  k: int = sizes.K
  noise: float = 0.0
  binary: bool = False

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      UserError: for a k that the log cannot have, or a noise below 0.
    """
    if self.world.k is not None:  # its log is what it is
      object.__setattr__(self, "k", self.world.k)
    if self.k not in (1, 2, 4):
      raise UserError(f"--k is 1, 2 or 4 completions a prompt, not {self.k}")
    if not self.noise >= 0:
      raise UserError(f"--noise must be 0 or above, not {self.noise}")

  @property
  def prompts(self) -> int:
    """Prompts of a log."""
    return sizes.PROMPTS * sizes.K // self.k

  @property
  def scenario(self) -> str:
    """As `Row.scenario`."""
    said = self.world.scenario or f"L={sizes.LEVEL}"
    if self._k_is_chosen:
      said += f", K={self.k}"
    if self.noise:
      said += f", noise={self.noise:g}"
    return said + (", binary" if self.binary else "")

  @property
  def words(self) -> list[str]:
    """The flags that ask for it, without those at their defaults."""
    said = list(self.world.words)
    if not said and self.world.name != "ops":
      said.append(f"--world={self.world.name}")
    if self._k_is_chosen:
      said.append(f"--k={self.k}")
    if self.noise:
      said.append(f"--noise={self.noise:g}")
    return [*said, *(["--binary"] if self.binary else [])]

  @property
  def _k_is_chosen(self) -> bool:
    return self.world.k is None and self.k != sizes.K

  def model(self, name: str) -> str:
    """The spec of the "decoder" or the "t5" that fits the world's widths."""
    positions = self.world.prompt_width + self.world.completion_width
    return sizes.MODELS[name].format(positions=positions)

  def logged(self, rewards: np.ndarray, seed: int) -> np.ndarray:
    """What the log has of the rewards [n, k], offset included."""
    if self.noise:
      rng = self.world.generator("noise", seed)
      rewards = rewards + self.noise * rewards.std() * rng.normal(
        size=rewards.shape
      )
    if self.binary:
      return (rewards > np.median(rewards)).astype(float)
    return rewards
