"""Proxies: reward models of three sizes and data amounts, ensembles and WARM.

All start from a language model of their own size that was fine-tuned on the
demonstrations, as in the paper. The members of an ensemble and of WARM share
that start and their pairs, and differ in the order of the pairs.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import ops_log, ops_policy
from benchmarks import ops_sizes as sizes
from benchmarks.methods import Method
from benchmarks.ops_log import Feedback
from benchmarks.ops_policy import Base
from benchmarks.rlhf.costs import size as size_of
from offalign import losses, models
from offalign.data import Sampler
from offalign.judges.reward_model import combined
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.policy.merging import rules
from offalign.types import Batch, Params

LOSS, RATE = "bradley_terry", 1e-3
PAIRS, STEPS, EPOCHS = 16, 200, 20
"""Pairs of an update, most updates, and most passes over the pairs."""
MEMBERS = 3
_READING = 400  # updates of a trunk on the demonstrations
_SPEC = (
  "decoder(width={width},layers=1,heads=4,positions=learned,"
  "max_positions={positions},prefix_lm=True)"
)
SIZES: dict[str, str | None] = {
  "3k": _SPEC.replace("{width}", "16"),
  "14k": _SPEC.replace("{width}", "32"),
  "59k": None,
}
"""Name -> spec; None is the policy's own model."""
OWN = "59k"


@dataclasses.dataclass(frozen=True)
class Data:
  """What a reward model learns from.

  Attributes:
    pairs: how many of the log's pairs.
    flipped: share of them whose label is the wrong way round.
  """

  pairs: int
  flipped: float = 0.0

  def __str__(self) -> str:
    """As the report has it."""
    wrong = f", {self.flipped:.0%} flipped" if self.flipped else ""
    return f"{self.pairs} pairs{wrong}"


DATA = (Data(64), Data(384), Data(2048))
NOISY = Data(2048, 0.25)


@dataclasses.dataclass(frozen=True)
class Proxy:
  """One reward model or several, on a scale of their own.

  Attributes:
    name: as `Point.proxy`.
    learner: that scores.
    params: of each.
    combine: "mean" or "worst" of several.
    updates: that its training took, of all members.
    scales: (mean, standard deviation) of each on the pool, which are taken
      out before several are combined; empty before they are known.
    shift: of what was combined, on the pool.
    stretch: to the gold reward's standard deviation.
  """

  name: str
  learner: Learner
  params: tuple[Params, ...]
  combine: str
  updates: int
  scales: tuple[tuple[float, float], ...] = ()
  shift: float = 0.0
  stretch: float = 1.0

  @property
  def parameters(self) -> int:
    """Of all networks that score."""
    return sum(size_of(params["value"]) for params in self.params)

  def score(self, rows: Batch) -> np.ndarray:
    """[n, K] scores; 0 is the SFT policy's mean over the pool."""
    raw = np.stack(
      [
        np.asarray(self.learner.reward(params, rows, None), np.float64)
        for params in self.params
      ]
    )
    return self.joined(raw)

  def joined(self, raw: np.ndarray) -> np.ndarray:
    """Scores of the members, [M, ...] -> [...], combined and scaled."""
    means, deviations = np.array(self.scales).T
    shape = (-1, *[1] * (raw.ndim - 1))
    alike = (raw - means.reshape(shape)) / deviations.reshape(shape)
    found = combined(alike.reshape(len(raw), -1), self.combine)
    return self.stretch * (found.reshape(raw.shape[1:]) - self.shift)

  def scaled(self, raw: np.ndarray, gold: np.ndarray) -> "Proxy":
    """The proxy on the scale of the gold reward.

    Args:
      raw: [M, P, N] members' scores of the pool.
      gold: [P, N] gold rewards of it.
    """
    scales = tuple((float(x.mean()), max(_within(x), 1e-9)) for x in raw)
    plain = dataclasses.replace(self, scales=scales, shift=0.0, stretch=1.0)
    found = plain.joined(raw)
    stretch = _within(gold) / max(_within(found), 1e-9)
    return dataclasses.replace(
      plain, shift=float(found.mean()), stretch=stretch
    )


def _within(scores: np.ndarray) -> float:
  """Standard deviation among the completions of a prompt: [P, N]."""
  return float(np.sqrt(scores.var(axis=1).mean()))


class Trainer:
  """Trains reward models of one size; compiled once for all seeds and data."""

  def __init__(self, base: Base, size: str) -> None:
    """Makes the model, and has its trunk learn to write.

    Args:
      base: the SFT policy, whose weights the largest starts from.
      size: a key of `SIZES`.
    """
    world, spec = base.setting.world, SIZES[size]
    self.size, self.model, self._trunk = size, base.model, base.params
    if spec is not None:
      width = world.prompt_width + world.completion_width
      self.model = models.make(
        spec.format(positions=width), vocab_size=len(world.vocab)
      )
      self._trunk = _writer(base, self.model)
    self.learner = _learner(LOSS, self.model, RATE)

  def fit(
    self, rows: Batch, seed: int, *, member: int = 0, longer: int = 1
  ) -> tuple[Params, int]:
    """Trains one reward model.

    Args:
      rows: pairs.
      seed: of the log.
      member: which order of the pairs.
      longer: times as many updates.

    Returns:
      Its params, and the updates.
    """
    n = len(rows.prompts)
    updates = longer * min(STEPS, EPOCHS * n // PAIRS)
    sampler = Sampler(n, PAIRS, seed=100 * seed + member)
    state: Any = self.learner.init(self._trunk)
    for step in range(updates):
      batch = ops_policy.take(rows, sampler, step)
      state, _ = self.learner.train_step(state, batch)
    return jax.block_until_ready(state.params), updates


def pairs(feedback: Feedback, data: Data) -> Batch:
  """The first pairs of a log, chosen first; some the wrong way round."""
  _, rows, _ = ops_log.view(Method(LOSS), losses.get(LOSS), feedback)
  n = len(rows.prompts)
  order = np.random.default_rng([feedback.seed, 17]).permutation(n)
  kept = order[: data.pairs]
  rows = jax.tree.map(lambda x: x[kept], rows)
  flips = np.random.default_rng([feedback.seed, 18]).random(len(kept))
  wrong = flips < data.flipped
  turned = [
    np.where(wrong[:, None, None], x[:, ::-1], x)
    for x in (rows.completions, rows.completion_mask)
  ]
  return dataclasses.replace(
    rows, completions=turned[0], completion_mask=turned[1]
  )


def average(members: Sequence[Params]) -> Params:
  """WARM: the mean of the weights, as `offalign merge` takes it."""
  shares = rules.shares(None, len(members))
  return jax.tree.map(
    lambda *each: rules.mean((np.asarray(x) for x in each), shares), *members
  )


def names(size: str, data: Data) -> list[str]:
  """The proxies of a size and data amount.

  Several models are of the policy's own size, where labels are few or noisy.
  """
  tail = f"{size}, {data}"
  if size != OWN or data not in (DATA[0], NOISY):
    return [f"one, {tail}"]
  return [
    f"one, {tail}",
    f"one with {MEMBERS} times the updates, {tail}",
    f"WARM of {MEMBERS}, {tail}",
    f"ensemble of {MEMBERS} (mean), {tail}",
    f"ensemble of {MEMBERS} (worst), {tail}",
  ]


def cells() -> list[tuple[str, Data]]:
  """Sizes with their data."""
  return [(size, data) for size in SIZES for data in DATA] + [(OWN, NOISY)]


def make(trainer: Trainer, feedback: Feedback, data: Data) -> Iterator[Proxy]:
  """Trains the proxies of `names`, in that order.

  Args:
    trainer: of the size.
    feedback: the log.
    data: which of its pairs.
  """
  rows, seed = pairs(feedback, data), feedback.seed
  proxy = functools.partial(Proxy, learner=trainer.learner)
  found, updates = trainer.fit(rows, seed)
  first, *others = names(trainer.size, data)
  yield proxy(first, params=(found,), combine="mean", updates=updates)
  if not others:
    return
  longer, warm, mean, worst = others
  long, count = trainer.fit(rows, seed, longer=MEMBERS)
  yield proxy(longer, params=(long,), combine="mean", updates=count)
  members = [found]
  for member in range(1, MEMBERS):
    members.append(trainer.fit(rows, seed, member=member)[0])
  total, several = MEMBERS * updates, tuple(members)
  yield proxy(warm, params=(average(members),), combine="mean", updates=total)
  yield proxy(mean, params=several, combine="mean", updates=total)
  yield proxy(worst, params=several, combine="worst", updates=total)


def _learner(loss: str, model: Any, rate: float) -> Learner:
  config = LearnerConfig(
    optimizer=OptimizerConfig(learning_rate=rate), steps=sizes.STEPS
  )
  return Learner(loss, model, config, ops_policy.mesh())


def _writer(base: Base, model: Any) -> Params:
  """A language model of another size, after some of the policy's SFT."""
  world = base.setting.world
  rng = world.generator("sft", 0)
  prompts = world.prompts_of("sft", sizes.SFT_PROMPTS, rng)
  tokens, mask = world.demonstrations(prompts, rng)
  rows = ops_policy.as_batch(prompts, tokens[:, None], mask[:, None])
  learner = _learner("sft", model, 3e-3)
  state: Any = learner.init(jax.jit(model.init)(jax.random.key(0)))
  sampler = Sampler(sizes.SFT_PROMPTS, sizes.SFT_BATCH, seed=0)
  for step in range(_READING):
    batch = ops_policy.take(rows, sampler, step)
    state, _ = learner.train_step(state, batch)
  return state.params["policy"]
