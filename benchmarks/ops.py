"""The `ops` track: a small language model, sampled completions, gold reward.

A policy is first fine-tuned on demonstrations of mixed quality. Its own
samples, scored by the gold reward, are the log of feedback from which every
method then learns: the same completions, the same budget, the same learner.
"""

import dataclasses
import functools
import zlib
from typing import Any

import jax
import numpy as np

from benchmarks import ops_feedback, ops_metrics, ops_world
from benchmarks.methods import Method
from offalign import losses, models, sharding
from offalign.data.batching import Sampler
from offalign.evals.sampling import sample
from offalign.learner import Learner, LearnerConfig, check_finite, finish
from offalign.losses import Loss
from offalign.models.base import Model
from offalign.optim import OptimizerConfig
from offalign.types import Batch, Kind, Params

MODELS = {
  "decoder": (
    "decoder(width=48,layers=2,heads=4,positions=learned,max_positions=18,"
    "prefix_lm=True)"
  ),
  "t5": "t5(width=32,head_dim=10)",
}
"""The specification's decoder, 58,800 params, and a T5 of 57,536."""

LEVEL = 0.37  # of the prompt's offset: the between-prompt share is .55
PROMPTS, K = 2048, 4
COMPLETIONS = 32  # a step
STEPS = 300
CURVE_EVERY = 75
SFT_PROMPTS, SFT_STEPS, SFT_BATCH = 20_000, 1500, 64
TEST, VALIDATION, FOLDS = 1000, 500, 5
ORACLE_PROMPTS, ORACLE_SAMPLES = 400, 64
ORACLE_TAUS = (5.0, 2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
CHUNK = 2048  # prompts sampled at a time


@dataclasses.dataclass(frozen=True)
class Base:
  """The SFT policy that every method starts from and is judged against.

  Attributes:
    model: the policy's model.
    params: after SFT; the reference of every method.
    frontier: what the exact tilt of this policy reaches.
    test: the test prompts, and a sample of this policy's rewards on them.
    validation: likewise; for the learning curves.
  """

  model: Model
  params: Params
  frontier: ops_metrics.Frontier
  best_of: tuple[ops_metrics.BestOfN, ...]
  test: "Judged"
  validation: "Judged"


@dataclasses.dataclass(frozen=True)
class Judged:
  """Prompts [n, 7] with the SFT policy's rewards [n] on them."""

  prompts: np.ndarray
  rewards: np.ndarray


@dataclasses.dataclass(frozen=True)
class Feedback:
  """The log of one seed: 2048 prompts with 4 scored completions each.

  Attributes:
    prompts: int32 [n, 7].
    tokens: int32 [n, K, 11].
    mask: bool [n, K, 11].
    ref_logps: float32 [n, K].
    rewards: float32 [n, K], offset included, mean 0 and variance 1.
    seed: of the prompts and samples.
  """

  prompts: np.ndarray
  tokens: np.ndarray
  mask: np.ndarray
  ref_logps: np.ndarray
  rewards: np.ndarray
  seed: int


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Samples on the host: tokens [n, 11], mask [n, 11], logps [n]."""

  tokens: np.ndarray
  mask: np.ndarray
  logps: np.ndarray


def draw(
  model: Model,
  params: Params,
  prompts: np.ndarray,
  stream: str,
  temperature: float = 1.0,
) -> Drawn:
  """One completion of each prompt, from a stream of randomness by name.

  Two policies draw from different streams: with the same one their samples
  would be coupled, which changes side-by-side win rates.
  """
  n = len(prompts)
  start = zlib.crc32(stream.encode()) % (2**30)
  seeds = (start + np.arange(n)).astype(np.int32)
  size = min(CHUNK, n)
  pieces = []
  for i in range(0, n, size):
    rows = np.arange(i, i + size) % n  # the last piece wraps: one shape
    found = sample(
      model,
      params,
      prompts[rows],
      np.ones((size, ops_world.PROMPT_WIDTH), bool),
      seeds=seeds[rows],
      max_new_tokens=ops_world.COMPLETION_WIDTH,
      eos_id=ops_world.EOS,
      temperature=temperature,
    )
    pieces.append(jax.device_get(found))
  return Drawn(
    *(np.concatenate(column)[:n] for column in zip(*pieces, strict=True))
  )


def mesh() -> Any:
  """One device: the models are too small to be worth splitting."""
  return sharding.make_mesh(devices=jax.devices()[:1])


def prepare(spec: str, progress: Any = None) -> Base:
  """Fine-tunes the base policy and computes its oracle lines.

  Args:
    spec: of the model.
    progress: called with (step, steps, loss) now and then.
  """
  model = models.make(spec, vocab_size=ops_world.VOCAB)
  params = _fine_tune(model, progress)

  def rewards(stream: str, n: int, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = ops_world.generator(stream, 0)
    prompts = np.repeat(ops_world.prompts(n, rng), k, axis=0)
    found = draw(model, params, prompts, f"sft {stream}")
    gold = ops_world.gold_reward(prompts, found.tokens, found.mask)
    return prompts[::k], gold.reshape(n, k)

  prompts, gold = rewards("eval", ORACLE_PROMPTS, 2 * ORACLE_SAMPLES)
  samples, fresh = gold[:, :ORACLE_SAMPLES], gold[:, ORACLE_SAMPLES:]
  scale = float((gold + ops_world.offset(prompts, LEVEL)[:, None]).std())
  judged = {}
  for stream, n in (("test", TEST), ("validation", VALIDATION)):
    p, r = rewards(stream, n)
    judged[stream] = Judged(p, r[:, 0])
  return Base(
    model=model,
    params=params,
    frontier=ops_metrics.frontier(
      samples, fresh, scale=scale, taus=(*ops_metrics.TAUS, *ORACLE_TAUS)
    ),
    best_of=tuple(
      ops_metrics.best_of_n(samples, fresh, n) for n in (2, 4, 8, 16)
    ),
    **judged,
  )


def _fine_tune(model: Model, progress: Any) -> Params:
  """SFT on 20,000 demonstrations of mixed quality."""
  rng = ops_world.generator("sft", 0)
  prompts = ops_world.prompts(SFT_PROMPTS, rng)
  tokens, mask = ops_world.demonstrations(prompts, rng)
  optimizer = OptimizerConfig(
    learning_rate=3e-3, warmup_steps=100, schedule="cosine"
  )
  learner = Learner(
    "sft", model, LearnerConfig(optimizer=optimizer, steps=SFT_STEPS), mesh()
  )
  state = learner.init(jax.jit(model.init)(jax.random.key(0)))
  rows = _rows(prompts, tokens[:, None], mask[:, None])
  sampler = Sampler(SFT_PROMPTS, SFT_BATCH, seed=0)
  for step in range(SFT_STEPS):
    state, metrics = learner.train_step(state, take(rows, sampler, step))
    if progress and step % 50 == 49:
      progress(step + 1, SFT_STEPS, finish(metrics)["loss"])
  return state.params["policy"]


def collect(base: Base, seed: int) -> Feedback:
  """The log of one seed: fresh prompts, sampled and scored."""
  rng = ops_world.generator("train", seed)
  prompts = ops_world.prompts(PROMPTS, rng)
  found = draw(
    base.model, base.params, np.repeat(prompts, K, axis=0), f"log {seed}"
  )
  shape = (PROMPTS, K, ops_world.COMPLETION_WIDTH)
  tokens, mask = found.tokens.reshape(shape), found.mask.reshape(shape)
  gold = ops_world.gold_reward(prompts, tokens, mask)
  offset = ops_world.offset(prompts, LEVEL)[:, None]
  rewards = ops_feedback.normalised(gold + offset).rewards
  return Feedback(
    prompts=prompts,
    tokens=tokens,
    mask=mask,
    ref_logps=found.logps.reshape(PROMPTS, K),
    rewards=rewards.astype(np.float32),
    seed=seed,
  )


def view(
  method: Method, loss: Loss, feedback: Feedback
) -> tuple[str, Batch, int]:
  """What a loss sees of the log.

  Returns:
    A name for the board, all rows as one batch, and the ties dropped.
  """
  f = feedback
  if loss.kind is Kind.GROUP:
    rows = _rows(f.prompts, f.tokens, f.mask, f.rewards, f.ref_logps)
    return f"groups of {K}, rewards", rows, 0
  if loss.kind is Kind.SINGLE:
    table = (f.tokens, f.mask, f.rewards, f.ref_logps)
    flat = [x.reshape(PROMPTS * K, 1, *x.shape[2:]) for x in table]
    rows = _rows(np.repeat(f.prompts, K, axis=0), *flat)
    name = "above dataset mean" if "labels" in loss.needs else "reward"
    if "reward_mean" in loss.needs:
      name = "batch threshold"
    return f"single, {name}", rows, 0
  ties = "kept" if "rewards" in loss.needs else "dropped"
  if ties == "kept":
    first = np.tile(np.arange(0, K, 2), PROMPTS)
    prompt = np.repeat(np.arange(PROMPTS), K // 2)
    columns, dropped = np.stack([first, first + 1], axis=1), 0
    name = "pairs, rewards"
  else:
    labels: Any = method.labels or "det"
    rng = ops_world.generator("labels", f.seed) if labels == "bt" else None
    pairs = ops_feedback.pairs(f.rewards, labels, rng)
    prompt, dropped = pairs.prompt, pairs.ties
    columns = np.stack([pairs.chosen, pairs.rejected], axis=1)
    name = {"det": "pairs, gold label", "bt": "pairs, Bradley-Terry label"}[
      labels
    ]
  picked = (
    x[prompt[:, None], columns]
    for x in (f.tokens, f.mask, f.rewards, f.ref_logps)
  )
  return name, _rows(f.prompts[prompt], *picked), dropped


def _rows(
  prompts: np.ndarray,
  tokens: np.ndarray,
  mask: np.ndarray,
  rewards: np.ndarray | None = None,
  ref_logps: np.ndarray | None = None,
) -> Batch:
  # The PADs inside a prompt are tokens of it, so its mask is all True.
  return Batch(
    prompts=prompts,
    prompt_mask=np.ones(prompts.shape, bool),
    completions=tokens,
    completion_mask=mask,
    weight=np.ones(len(prompts), np.float32),
    rewards=rewards,
    labels=None if rewards is None else rewards > 0,
    ref_logps=ref_logps,
  )


def take(rows: Batch, sampler: Sampler, step: int) -> Batch:
  """The batch of a step."""
  indices = sampler.indices(step)
  return jax.tree.map(lambda x: x[indices], rows)


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained policy, and its learning curve on validation prompts."""

  params: Params
  curve: list[list[float]]
  view: str
  ties: int


@functools.cache
def learner_of(method: Method, model: Model) -> Learner:
  """The method's learner, compiled once for all seeds."""
  config = LearnerConfig(
    value=method.value,
    optimizer=OptimizerConfig(learning_rate=method.learning_rate),
    steps=STEPS,
  )
  return Learner(method.loss, model, config, mesh())


def train(method: Method, base: Base, feedback: Feedback) -> Trained:
  """Trains one method on one log: 300 steps of 32 completions."""
  loss = losses.get(method.loss)
  learner = learner_of(method, base.model)
  name, rows, ties = view(method, loss, feedback)
  per_prompt = rows.completions.shape[1]
  sampler = Sampler(
    len(rows.prompts), COMPLETIONS // per_prompt, seed=feedback.seed
  )
  learner.check_batch(take(rows, sampler, 0))
  reference = base.params if learner.needs_reference_weights else None
  state = learner.init(base.params)
  curve = [[0, 0.5]]
  for step in range(STEPS):
    state, metrics = learner.train_step(
      state, take(rows, sampler, step), reference
    )
    if (step + 1) % CURVE_EVERY == 0:
      picked = sampler.indices(step)
      check_finite(step + 1, metrics, [f"row {i}" for i in picked])
      won = judge(base, state.params["policy"], base.validation, method.name)
      curve.append(
        [step + 1, ops_metrics.win_rate(won, base.validation.rewards)]
      )
  return Trained(state.params["policy"], curve, name, ties)


def judge(base: Base, params: Params, on: Judged, stream: str) -> np.ndarray:
  """[n] gold rewards, without offset, of one sample a prompt."""
  found = draw(base.model, params, on.prompts, stream)
  return ops_world.gold_reward(on.prompts, found.tokens, found.mask)


def measure(
  base: Base, params: Params, stream: str, temperature: float = 1.0
) -> tuple[dict[str, float], np.ndarray]:
  """Metrics on the test prompts, and the rewards [n] behind them.

  KL is the mean log-ratio of the policy's own samples; it is left out at
  another temperature, whose log-probs are not those of the policy.
  """
  test = base.test
  found = draw(base.model, params, test.prompts, stream, temperature)
  gold = ops_world.gold_reward(test.prompts, found.tokens, found.mask)
  gain = float(gold.mean()) - base.frontier.base
  metrics = {
    "win_vs_sft": ops_metrics.win_rate(gold, test.rewards),
    "reward_gain": gain,
    "exact": float(
      ops_world.exact(test.prompts, found.tokens, found.mask).mean()
    ),
  }
  if temperature == 1.0:
    rows = _rows(test.prompts, found.tokens[:, None], found.mask[:, None])
    scorer = learner_of(Method("sft"), base.model)
    reference = np.asarray(scorer.score(base.params, rows))[:, 0]
    kl = float((found.logps - reference).mean())
    metrics["kl"] = kl
    if kl > 0.01:  # below, the ratio of gains is noise over noise
      metrics["efficiency"] = base.frontier.efficiency(gain, kl)
  return metrics, gold
