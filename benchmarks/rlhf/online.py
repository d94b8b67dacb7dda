"""Rounds on the ops track: draw, score by the reward model, train, again."""

import dataclasses
from typing import Any, Literal

import numpy as np

from benchmarks import ops, ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_log import Feedback
from benchmarks.ops_policy import Base, as_batch
from benchmarks.rlhf.costs import Costs, size, tokens
from benchmarks.rlhf.curves import Curves
from benchmarks.rlhf.proxy import Proxy
from offalign import losses
from offalign.data import Sampler
from offalign.learner.value import ValueConfig
from offalign.types import Batch, Params

View = Literal["groups", "singles", "best and worst", "top"]


@dataclasses.dataclass(frozen=True)
class Online:
  """A method that trains on its own samples.

  Attributes:
    name: on the board.
    loss: loss spec with {s} where the strength goes.
    strengths: that are tried.
    view: what a round's completions become: groups of K with scores, single
      completions with scores, the best and the worst of each K as a pair, or
      single completions of which the best are desirable.
    k: completions of a prompt.
    every: updates in a round; there are as many completions in all whatever
      it is.
    moving: whether the reference is the policy of the round's start, rather
      than the SFT policy.
    learning_rate: of policy and value.
    value: of a loss that needs one; None = its default.
  """

  name: str
  loss: str
  strengths: tuple[float, ...]
  view: View
  k: int = 4
  every: int = 1
  moving: bool = False
  learning_rate: float = 3e-4
  value: ValueConfig | None = None

  def method(self, strength: float) -> Method:
    """As the learner takes it."""
    loss = self.loss.format(s=f"{strength:g}")
    return Method(
      loss, self.name, learning_rate=self.learning_rate, value=self.value
    )


@dataclasses.dataclass(frozen=True)
class Grown:
  """A policy after its rounds.

  Attributes:
    params: of the policy.
    costs: of the rounds, without the reward model's training.
    rounds: how many.
    curves: on the way.
  """

  params: Params
  costs: Costs
  rounds: int
  curves: Curves


def train(
  online: Online,
  strength: float,
  base: Base,
  feedback: Feedback,
  proxy: Proxy,
  curves: bool = False,
) -> Grown:
  """Trains for as many updates and completions as an offline run sees.

  Args:
    online: the method.
    strength: of its loss.
    base: where the policy starts, and its reference.
    feedback: the log, for its prompts.
    proxy: the reward model that scores.
    curves: whether the policy is judged on its way, at the ends of rounds
      about every `CURVE_EVERY` updates.
  """
  method, seed = online.method(strength), feedback.seed
  loss = losses.get(method.loss)
  step_of = ops.stepper(method, base.model, shared=True)
  learner = ops.learner_of(method, base.model)
  scorer = ops.learner_of(Method("sft"), base.model)
  state: Any = learner.init(base.params)
  costs, parameters = Costs(), size(base.params)
  way = Curves()
  way.begin(proxy.costs.flops)
  count = sizes.COMPLETIONS * online.every // online.k
  prompts = Sampler(len(feedback.prompts), count, seed=seed)
  rounds = sizes.STEPS // online.every
  for number in range(rounds):
    policy = state.params["policy"]
    asked = feedback.prompts[prompts.indices(number)]
    each = np.repeat(asked, online.k, axis=0)
    found = ops_policy.draw(
      base.setting.world,
      base.model,
      policy,
      each,
      f"{online.name}, {strength:g}, seed {seed}, round {number}",
    )
    shape = (count, online.k, found.tokens.shape[1])
    rows = as_batch(
      asked, found.tokens.reshape(shape), found.mask.reshape(shape)
    )
    costs.generated(rows, parameters)
    rewards = proxy.score(rows)
    costs.scored(rows, proxy.parameters)
    logps = found.logps.reshape(count, online.k)
    reference = logps
    if not online.moving and "ref_logps" in loss.needs:
      reference = np.asarray(scorer.score(base.params, rows))
      costs.read(rows, parameters)
    elif "ref_token_logps" in loss.needs:
      costs.read(rows, parameters)  # in the step
    top = _top(rewards, number / rounds) if online.view == "top" else None
    rows = dataclasses.replace(
      rows, behaviour_token_logps=found.token_logps.reshape(shape)
    )
    rows = _viewed(online.view, rows, rewards, reference, logps, top)
    held = None
    if learner.needs_reference_weights:
      held = base.params
    per_step = max(len(rows.prompts) // online.every, 1)
    own = Sampler(len(rows.prompts), per_step, seed=number)
    for step in range(online.every):
      batch = ops_policy.take(rows, own, step)
      trains = sum(size(tree) for tree in state.params.values())
      state, _ = step_of(state, batch, held)
      costs.trained(tokens(batch), trains)
    done = (number + 1) * online.every
    if (
      curves
      and done // sizes.CURVE_EVERY > (done - online.every) // sizes.CURVE_EVERY
    ):
      rate, gain = ops.progress(base, state.params["policy"], method.name)
      way.add(done, rate, gain, proxy.costs.flops + costs.flops)
  return Grown(state.params["policy"], costs, rounds, way)


def _top(rewards: np.ndarray, done: float) -> float:
  """ReST's rising threshold: the median at first, the top tenth at last."""
  return float(np.quantile(rewards, 0.5 + 0.4 * done))


def _viewed(
  view: View,
  rows: Batch,
  rewards: np.ndarray,
  reference: np.ndarray,
  behaviour: np.ndarray,
  top: float | None,
) -> Batch:
  """What a loss sees of a round; rewards are those of the reward model."""
  scored = dataclasses.replace(
    rows,
    rewards=rewards.astype(np.float32),
    labels=rewards > (0.0 if top is None else top),
    ref_logps=reference,
    behaviour_logps=behaviour,
  )
  if view == "groups":
    return scored
  n, k = rewards.shape
  columns = (
    "completions",
    "completion_mask",
    "rewards",
    "labels",
    "ref_logps",
    "behaviour_logps",
    "behaviour_token_logps",
  )
  if view == "best and worst":
    picked = np.stack([rewards.argmax(1), rewards.argmin(1)], axis=1)
    apart = rewards.max(1) > rewards.min(1)
    taken: dict[str, Any] = {
      name: _pick(np.asarray(getattr(scored, name)), picked) for name in columns
    }
    return dataclasses.replace(scored, weight=apart.astype(np.float32), **taken)
  flat: dict[str, Any] = {
    name: np.asarray(getattr(scored, name)).reshape(
      n * k, 1, *np.shape(getattr(scored, name))[2:]
    )
    for name in columns
  }
  return dataclasses.replace(
    scored,
    prompts=np.repeat(rows.prompts, k, axis=0),
    prompt_mask=np.repeat(rows.prompt_mask, k, axis=0),
    weight=np.ones(n * k, np.float32),
    **flat,
  )


def _pick(column: np.ndarray, picked: np.ndarray) -> np.ndarray:
  """[n, K, ...] at [n, 2] -> [n, 2, ...]."""
  return column[np.arange(len(column))[:, None], picked]
