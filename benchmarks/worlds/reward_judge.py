"""A reward model of `bradley_terry`, trained on pairs, that judges replies."""

import dataclasses
from typing import Any

import jax
import numpy as np

from benchmarks import ops_sizes as sizes
from benchmarks.ops_policy import as_batch, mesh, take
from offalign import models
from offalign.data import Sampler
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.types import Batch

MODEL = (
  "decoder(width=48,layers=1,heads=4,positions=learned,"
  "max_positions={positions},prefix_lm=True)"
)
LOSS = "bradley_terry(center=0.01)"
READING, STEPS, PAIRS = 200, 150, 32
"""Updates on the text alone, updates on the pairs, and pairs of an update."""
_DIGITS = 4  # of a score: below, equal completions differ by rounding


@dataclasses.dataclass(frozen=True)
class Replies:
  """Messages [n, P] with replies [n, K, T] and their mask."""

  prompts: np.ndarray
  tokens: np.ndarray
  mask: np.ndarray

  @property
  def rows(self) -> Batch:
    """All of them as one batch."""
    return as_batch(self.prompts, self.tokens, self.mask)


class Judge:
  """Scores replies to messages; the scores are log-odds of being preferred."""

  def __init__(
    self,
    vocab: int,
    read: Replies,
    pairs: Replies,
    *,
    reading: int = READING,
    steps: int = STEPS,
    rate: float = 1e-3,
    decay: float = 0.1,
    per: Any = "token",
    spec: str = MODEL,
  ):
    """Trains the reward model: first on text, then on pairs.

    Args:
      vocab: size of the vocabulary.
      read: [n, 1, T] replies that its trunk first learns to write.
      pairs: [n, 2, T] replies, the chosen one first.
      reading: updates on the text.
      steps: updates on the pairs.
      rate: learning rate on the pairs.
      decay: weight decay there.
      per: the states that the score is read from; see `ValueConfig`.
      spec: of the model.
    """
    positions = pairs.prompts.shape[1] + pairs.tokens.shape[2]
    model = models.make(spec.format(positions=positions), vocab_size=vocab)
    params = jax.jit(model.init)(jax.random.key(1))
    writer = _learner("sft", model, reading, 3e-3, 0.0)
    params = _trained(writer, params, read.rows, reading, sizes.SFT_BATCH)
    self._learner = _learner(
      LOSS, model, steps, rate, decay, ValueConfig(per=per)
    )
    self._params = _trained(
      self._learner, params["policy"], pairs.rows, steps, PAIRS
    )

  def scores(self, replies: Replies) -> np.ndarray:
    """Scores replies: float64 [n, K]."""
    n, found = len(replies.prompts), []
    size = min(sizes.CHUNK, n)
    for i in range(0, n, size):
      picked = np.arange(i, i + size) % n  # the last piece wraps: one shape
      rows = jax.tree.map(lambda x, at=picked: x[at], replies.rows)
      found.append(np.asarray(self._learner.reward(self._params, rows, None)))
    return np.round(np.concatenate(found)[:n].astype(np.float64), _DIGITS) + 0.0

  def right(self, pairs: Replies) -> np.ndarray:
    """1 where the chosen reply, the first, scores higher; a tie is 1/2: [n]."""
    scores = self.scores(pairs)
    gap = scores[:, 0] - scores[:, 1]
    return (gap > 0) + 0.5 * (gap == 0)


def _learner(
  loss: str,
  model: Any,
  steps: int,
  rate: float,
  decay: float,
  value: ValueConfig | None = None,
) -> Learner:
  optimizer = OptimizerConfig(
    learning_rate=rate, schedule="cosine", weight_decay=decay
  )
  config = LearnerConfig(optimizer=optimizer, steps=steps, value=value)
  return Learner(loss, model, config, mesh())


def _trained(
  learner: Learner, params: Any, rows: Batch, steps: int, size: int
) -> Any:
  state = learner.init(params)
  n = len(rows.prompts)
  sampler = Sampler(n, min(size, n), seed=0)
  for step in range(steps):
    state, _ = learner.train_step(state, take(rows, sampler, step))
  return state.params
