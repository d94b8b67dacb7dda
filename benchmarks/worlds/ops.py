"""The world `ops`: COPY, REV or SORT letters; see `benchmarks.ops_world`."""

import numpy as np

from benchmarks import ops_samples, ops_world
from benchmarks.worlds.base import World
from offalign.leaderboard import Sample


class Ops(World):
  """The track's first world, whose numbers and streams are its own."""

  name = "ops"
  vocab = tuple(ops_samples.name(token) for token in range(ops_world.VOCAB))
  prompt_width = ops_world.PROMPT_WIDTH
  completion_width = ops_world.COMPLETION_WIDTH

  def prompts(self, n: int, rng: np.random.Generator) -> np.ndarray:
    """See `ops_world.prompts`."""
    return ops_world.prompts(n, rng)

  def demonstrations(
    self, prompts: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    """See `ops_world.demonstrations`."""
    return ops_world.demonstrations(prompts, rng)

  def gold_reward(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray:
    """See `ops_world.gold_reward`."""
    return ops_world.gold_reward(prompts, tokens, mask)

  def exact(
    self, prompts: np.ndarray, tokens: np.ndarray, mask: np.ndarray
  ) -> np.ndarray:
    """See `ops_world.exact`."""
    return ops_world.exact(prompts, tokens, mask)

  def offset(self, prompts: np.ndarray, level: float) -> np.ndarray:
    """See `ops_world.offset`."""
    return ops_world.offset(prompts, level)

  def generator(self, stream: str, seed: int) -> np.random.Generator:
    """See `ops_world.generator`."""
    return ops_world.generator(stream, seed)

  def samples(
    self,
    prompts: np.ndarray,
    tokens: np.ndarray,
    mask: np.ndarray,
    gold: np.ndarray,
  ) -> list[Sample]:
    """The first two prompts of each operation; see `ops_samples.collect`."""
    return ops_samples.collect(prompts, tokens, mask, gold)
