"""The reward model of RLHF: trained on the same log as the offline methods."""

import dataclasses
from typing import Any

import jax
import numpy as np

from benchmarks import ops_log, ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_log import Feedback
from benchmarks.ops_policy import Base, as_batch
from benchmarks.rlhf.costs import Costs, size, tokens
from offalign import losses
from offalign.data import Sampler
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.types import Batch, Params

LOSS, RATE = "bradley_terry", 1e-3
HELD_OUT = 4  # completions of each validation prompt


@dataclasses.dataclass(frozen=True)
class Proxy:
  """A reward model, on the scale of the log's rewards.

  Attributes:
    learner: that scores.
    params: of the reward model.
    mean: of its scores on the log.
    scale: their standard deviation there.
    accuracy: the share of held-out pairs that it orders as the gold reward
      does; ties of the gold reward are left out.
    costs: of its training.
    seconds: CPU seconds of its training.
  """

  learner: Learner
  params: Params
  mean: float
  scale: float
  accuracy: float
  costs: Costs
  seconds: float = 0.0

  @property
  def parameters(self) -> int:
    """Of the network that scores."""
    return size(self.params["value"])

  def score(self, rows: Batch) -> np.ndarray:
    """[n, K] scores of mean 0 and variance 1 over the log."""
    raw = np.asarray(self.learner.reward(self.params, rows, None))
    return (raw - self.mean) / self.scale


def fit(base: Base, feedback: Feedback) -> Proxy:
  """Trains a reward model on the pairs of a log.

  Args:
    base: whose weights it starts from.
    feedback: the log.
  """
  learner = Learner(
    LOSS,
    base.model,
    LearnerConfig(
      optimizer=OptimizerConfig(learning_rate=RATE), steps=sizes.STEPS
    ),
    ops_policy.mesh(),
  )
  _, rows, _ = ops_log.view(Method(LOSS), losses.get(LOSS), feedback)
  sampler = Sampler(
    len(rows.prompts), sizes.COMPLETIONS // 2, seed=feedback.seed
  )
  state: Any = learner.init(base.params)
  costs = Costs()
  for step in range(sizes.STEPS):
    batch = ops_policy.take(rows, sampler, step)
    state, _ = learner.train_step(state, batch)
    costs.trained(tokens(batch), size(state.params["value"]))
  params = jax.block_until_ready(state.params)
  logged = as_batch(feedback.prompts, feedback.tokens, feedback.mask)
  found = np.asarray(learner.reward(params, logged, None))
  proxy = Proxy(
    learner, params, float(found.mean()), float(found.std()), 0.0, costs
  )
  return dataclasses.replace(proxy, accuracy=_accuracy(base, proxy))


def _accuracy(base: Base, proxy: Proxy) -> float:
  """On samples of the SFT policy on the validation prompts."""
  world = base.setting.world
  each = np.repeat(base.validation.prompts, HELD_OUT, axis=0)
  found = ops_policy.draw(
    world, base.model, base.params, each, "held-out pairs"
  )
  gold = world.gold_reward(each, found.tokens, found.mask)
  shape = (-1, HELD_OUT, found.tokens.shape[1])
  rows = as_batch(
    base.validation.prompts,
    found.tokens.reshape(shape),
    found.mask.reshape(shape),
  )
  scores = proxy.score(rows)
  gold = gold.reshape(-1, HELD_OUT)
  first, second = np.triu_indices(HELD_OUT, 1)
  apart = gold[:, first] - gold[:, second]
  same = np.sign(scores[:, first] - scores[:, second]) == np.sign(apart)
  return float(same[apart != 0].mean())
