"""What a run computed, counted alike for every method.

FLOPs are 2 N for every token that a network of N parameters reads or writes,
and 6 N for one that it is trained on. Attention is left out: at these lengths
it is about a hundredth.
"""

import dataclasses

import jax
import numpy as np

from offalign.types import Batch, Params

_FORWARD, _TRAIN = 2, 6


def size(params: Params) -> int:
  """Parameters of a tree."""
  return sum(x.size for x in jax.tree.leaves(params))


def tokens(rows: Batch) -> int:
  """Tokens of prompts and completions, a prompt once for each of its own."""
  prompts, each = np.shape(rows.prompts), rows.completions.shape[1]
  return int(np.sum(rows.completion_mask)) + prompts[0] * prompts[1] * each


@dataclasses.dataclass
class Costs:
  """Counters of a run.

  Attributes:
    generations: completions drawn for training.
    scores: completions that the reward model scored.
    flops: of all of it.
  """

  generations: int = 0
  scores: int = 0
  flops: float = 0.0

  def generated(self, rows: Batch, parameters: int) -> None:
    """Counts completions that a policy has drawn."""
    self.generations += rows.completions.shape[0] * rows.completions.shape[1]
    self.read(rows, parameters)

  def scored(self, rows: Batch, parameters: int) -> None:
    """Counts completions that a reward model has scored."""
    self.scores += rows.completions.shape[0] * rows.completions.shape[1]
    self.read(rows, parameters)

  def read(self, rows: Batch, parameters: int) -> None:
    """Counts a forward pass."""
    self.flops += _FORWARD * parameters * tokens(rows)

  def trained(self, count: int, parameters: int) -> None:
    """Counts tokens that weights were trained on."""
    self.flops += _TRAIN * parameters * count

  def metrics(self) -> dict[str, float]:
    """For a row: "generations", "scores" and "gflops"."""
    return {
      "generations": float(self.generations),
      "scores": float(self.scores),
      "gflops": round(self.flops / 1e9, 3),
    }
