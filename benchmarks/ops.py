"""The `ops` track: a small language model, sampled completions, gold reward.

A policy is first fine-tuned on demonstrations of mixed quality. Its own
samples, scored by the gold reward, are the log of feedback from which every
method then learns: the same completions, the same budget, the same learner.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from benchmarks import ops_metrics
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_log import Feedback, view
from benchmarks.ops_policy import (
  Base,
  Drawn,
  Judged,
  as_batch,
  draw,
  mesh,
  take,
)
from offalign import losses
from offalign.data import Sampler
from offalign.generation import best_of
from offalign.leaderboard import Sample
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.models.base import Model
from offalign.training.metrics import check_finite, finish
from offalign.types import Params

SELECT = flags.DEFINE_bool(
  "select",
  False,
  "For the ops track: take the checkpoint of the highest win rate against SFT "
  "on the validation prompts, as the DRO paper does, in place of the last.",
)


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained policy, and its learning curve on validation prompts.

  Attributes:
    params: of the last step, or of the one that was selected.
    curve: [step, win rate against SFT].
    gains: [step, reward gained over SFT].
    view: what the loss saw.
    ties: pairs dropped.
    selection: as `Row.selection`.
    metrics: what training showed of the method: "tokens" (completion tokens
      trained on, without padding, each time they were used), "parameters"
      (trained, of policy and value), and of KTO "z0" (the mean over steps)
      and "z0_clipped" (the share of steps at which it was cut off at 0).
  """

  params: Params
  curve: list[list[float]]
  gains: list[list[float]]
  view: str
  ties: int
  selection: str
  metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Measured:
  """A policy on the test prompts.

  Attributes:
    metrics: name -> value.
    outcomes: metric -> [n], its values on the prompts.
    rewards: [n] behind them.
    samples: a few of its completions.
  """

  metrics: dict[str, float]
  outcomes: dict[str, np.ndarray]
  rewards: np.ndarray
  samples: list[Sample]


@functools.cache
def learner_of(method: Method, model: Model) -> Learner:
  """The method's learner, compiled once for all seeds."""
  config = LearnerConfig(
    value=method.value,
    optimizer=OptimizerConfig(
      learning_rate=method.learning_rate,
      value_learning_rate=method.value_learning_rate,
    ),
    steps=sizes.STEPS,
  )
  return Learner(method.loss, model, config, mesh())


class Shared:
  """A step compiled over the numbers and rates of methods of one shape.

  Attributes:
    fits: whether the loss takes traced numbers; known after the first step.
  """

  def __init__(self, method: Method, model: Model) -> None:
    """Compiles nothing yet."""
    rate = 1.0 if losses.get(method.loss).needs_value else None
    at_one = dataclasses.replace(
      method, learning_rate=1.0, value_learning_rate=rate
    )
    learner = learner_of(at_one, model)
    self.fits = True
    self._step = jax.jit(
      lambda numbers, rates, *rest: learner.varied(numbers, rates).step(*rest),
      donate_argnums=2,
    )

  def step(self, method: Method, model: Model, *rest: Any) -> Any:
    """One update of a method; its own step where the loss does not fit."""
    if self.fits:
      try:
        return self._step(*_numbers(method), *rest)
      except jax.errors.ConcretizationTypeError:
        self.fits = False
    return learner_of(method, model).train_step(*rest)


_shared: dict[tuple[Any, ...], Shared] = {}
"""Steps by what they are compiled for; emptied by `forget`."""


def stepper(method: Method, model: Model, shared: bool) -> Any:
  """(state, batch, reference) -> (state, metrics), compiled.

  Args:
    method: loss and rates.
    model: of the policy.
    shared: whether methods that differ in numbers alone share one step; it
      rounds otherwise than a step with its numbers compiled in, by about 1e-7.
  """
  if not shared:
    return learner_of(method, model).train_step
  loss = losses.get(method.loss)
  fixed = [item for item in loss.items if item[0] not in loss.numbers]
  shape = (loss.name, *fixed, loss.needs, method.value, model)
  if shape not in _shared:
    _shared[shape] = Shared(method, model)
  return functools.partial(_shared[shape].step, method, model)


def forget() -> None:
  """Lets compiled steps go, which would fill the memory."""
  learner_of.cache_clear()
  _shared.clear()


def _numbers(method: Method) -> tuple[dict[str, float], dict[str, float]]:
  """A method's options and rates that a shared step takes."""
  loss, own = losses.get(method.loss), method.value_learning_rate
  rates = {"policy": method.learning_rate}
  if loss.needs_value:
    rates["value"] = method.learning_rate if own is None else own
  return loss.numbers, rates


def train(
  method: Method, base: Base, feedback: Feedback, shared: bool = False
) -> Trained:
  """Trains one method on one log: 300 steps of 32 completions.

  With --select, the best of the curve's checkpoints is returned, of equals
  the first; the SFT policy, which is step 0, is none of them. `shared` is
  that of `stepper`.
  """
  loss = losses.get(method.loss)
  learner = learner_of(method, base.model)
  name, rows, ties = view(method, loss, feedback)
  per_prompt = rows.completions.shape[1]
  sampler = Sampler(
    len(rows.prompts), sizes.COMPLETIONS // per_prompt, seed=feedback.seed
  )
  learner.check_batch(take(rows, sampler, 0))
  reference = base.params if learner.needs_reference_weights else None
  state = learner.init(base.params)
  step_of = stepper(method, base.model, shared)
  curve, gains = [[0, 0.5]], [[0, 0.0]]
  best, selected = -1.0, None
  lengths = rows.completion_mask.reshape(len(rows.prompts), -1).sum(axis=1)
  tokens, z0 = 0, []
  for step in range(sizes.STEPS):
    state, metrics = step_of(state, take(rows, sampler, step), reference)
    tokens += int(lengths[sampler.indices(step)].sum())
    if "kl" in loss.needs:
      z0.append(metrics["means"]["kl"])
    if (step + 1) % sizes.CURVE_EVERY == 0:
      picked = sampler.indices(step)
      check_finite(step + 1, metrics, [f"row {i}" for i in picked])
      policy = state.params["policy"]
      rate, gain = progress(base, policy, method.name)
      curve.append([step + 1, rate])
      gains.append([step + 1, gain])
      if SELECT.value and rate > best:
        # A copy, as the next step is given the state's memory.
        best, selected = rate, jax.tree.map(jnp.copy, state.params["policy"])
  how = ""
  if selected is not None:
    how = (
      f"by win rate against SFT on {len(base.validation.rewards)} validation "
      f"prompts, every {sizes.CURVE_EVERY} steps"
    )
  params = state.params["policy"] if selected is None else selected
  shown = {"tokens": float(tokens), "parameters": float(_count(state.params))}
  if z0:
    kept = np.array([finish({"means": {"kl": each}})["kl"] for each in z0])
    shown |= {"z0": float(kept.mean()), "z0_clipped": float((kept <= 0).mean())}
  return Trained(params, curve, gains, name, ties, how, shown)


def _count(params: Params) -> int:
  return sum(x.size for x in jax.tree.leaves(params))


def judge(base: Base, params: Params, on: Judged, stream: str) -> np.ndarray:
  """[n] gold rewards, without offset, of one sample a prompt."""
  world = base.setting.world
  found = draw(world, base.model, params, on.prompts, stream)
  return world.gold_reward(on.prompts, found.tokens, found.mask)


def progress(base: Base, params: Params, stream: str) -> tuple[float, float]:
  """(win rate, reward gain) over SFT on the validation prompts; for curves."""
  won, theirs = judge(base, params, base.validation, stream), base.validation
  rate = ops_metrics.win_rate(won, theirs.rewards)
  return rate, float(np.mean(won - theirs.rewards))


def validate(base: Base, params: Params, stream: str) -> tuple[float, float]:
  """(win rate against SFT, KL) on the validation prompts, to choose by."""
  on, world = base.validation, base.setting.world
  found = draw(world, base.model, params, on.prompts, stream)
  gold = world.gold_reward(on.prompts, found.tokens, found.mask)
  won = ops_metrics.win_rate(gold, on.rewards)
  return won, _kl(base, on.prompts, found)


def _kl(base: Base, prompts: np.ndarray, found: Drawn) -> float:
  """The mean log-ratio of a policy's own samples to the SFT policy; nats."""
  rows = as_batch(prompts, found.tokens[:, None], found.mask[:, None])
  scorer = learner_of(Method("sft"), base.model)
  reference = np.asarray(scorer.score(base.params, rows))[:, 0]
  kl = float((found.logps - reference).mean())
  return round(kl, 6) + 0.0  # not -0.00 where nothing moved


def measure(
  base: Base, params: Params, stream: str, temperature: float = 1.0
) -> Measured:
  """Samples one completion of each test prompt and judges it.

  The gain is over the mean of many samples of the SFT policy on the same
  prompts, prompt by prompt, so that the SFT policy itself gains nothing. KL is
  the mean log-ratio of the policy's own samples; it is left out at another
  temperature, whose log-probs are not those of the policy.
  """
  test, world = base.test, base.setting.world
  found = draw(world, base.model, params, test.prompts, stream, temperature)
  kl = _kl(base, test.prompts, found) if temperature == 1.0 else None
  return _measured(base, found, kl)


def measure_best_of(base: Base, n: int, stream: str) -> Measured:
  """Draws n completions of each test prompt and keeps the one of highest gold.

  As `measure`, but that the KL is the bound log n - (n - 1) / n, so the
  efficiency is at least what is said. No policy knows the gold reward: it is
  what the best scorer there can be would get of n draws of SFT.
  """
  test, world = base.test, base.setting.world
  each = np.repeat(test.prompts, n, axis=0)
  drawn = draw(world, base.model, base.params, each, stream)
  gold = world.gold_reward(each, drawn.tokens, drawn.mask).reshape(-1, n)
  rows = np.arange(len(gold)) * n + best_of.choose(gold).places
  found = Drawn(
    drawn.tokens[rows],
    drawn.mask[rows],
    drawn.logps[rows],
    drawn.token_logps[rows],
  )
  return _measured(base, found, best_of.kl_bound(n))


def _measured(base: Base, found: Drawn, kl: float | None) -> Measured:
  """Judges one completion of each test prompt."""
  test, world = base.test, base.setting.world
  gold = world.gold_reward(test.prompts, found.tokens, found.mask)
  outcomes = {
    "win_vs_sft": ops_metrics.wins(gold, test.rewards),
    "reward_gain": gold - base.means,
  }
  gain = float(outcomes["reward_gain"].mean())
  metrics = {
    "win_vs_sft": float(outcomes["win_vs_sft"].mean()),
    "reward_gain": gain,
  }
  exact = world.exact(test.prompts, found.tokens, found.mask)
  if exact is not None:
    metrics["exact"] = float(exact.mean())
  if kl is not None:
    metrics["kl"] = kl
    if kl > 0.01:  # below, the ratio of gains is noise over noise
      metrics["efficiency"] = base.frontier.efficiency(gain, kl)
  shown = world.samples(test.prompts, found.tokens, found.mask, gold)
  return Measured(metrics, outcomes, gold, shown)
