"""The SFT policy of the `ops` track: its training, samples and oracle."""

import dataclasses
import zlib
from typing import Any

import jax
import numpy as np

from benchmarks import ops_metrics
from benchmarks import ops_sizes as sizes
from benchmarks.worlds.base import EOS, World
from benchmarks.worlds.setting import Setting
from offalign import models
from offalign.data import Sampler
from offalign.distributed import sharding
from offalign.generation.sampling import sample
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.models.base import Model
from offalign.training.metrics import finish
from offalign.types import Batch, Params


@dataclasses.dataclass(frozen=True)
class Base:
  """The SFT policy that every method starts from and is judged against.

  Attributes:
    setting: its world, and what the logs are like.
    model: the policy's model.
    params: after SFT; the reference of every method.
    frontier: what the exact tilt of this policy reaches on the test prompts.
    test: the test prompts, and a sample of this policy's rewards on them.
    validation: likewise; for the learning curves.
    means: [n] this policy's mean reward on each test prompt, of the samples
      of the frontier; their mean is the frontier's base.
  """

  setting: Setting
  model: Model
  params: Params
  frontier: ops_metrics.Frontier
  best_of: tuple[ops_metrics.BestOfN, ...]
  test: "Judged"
  validation: "Judged"
  means: np.ndarray


@dataclasses.dataclass(frozen=True)
class Judged:
  """Prompts [n, P] with the SFT policy's rewards [n] on them."""

  prompts: np.ndarray
  rewards: np.ndarray


@dataclasses.dataclass(frozen=True)
class Drawn:
  """Samples on the host: tokens, mask and token_logps [n, T], logps [n]."""

  tokens: np.ndarray
  mask: np.ndarray
  logps: np.ndarray
  token_logps: np.ndarray


def draw(
  world: World,
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
  size = min(sizes.CHUNK, n)
  pieces = []
  for i in range(0, n, size):
    rows = np.arange(i, i + size) % n  # the last piece wraps: one shape
    found = sample(
      model,
      params,
      prompts[rows],
      np.ones((size, world.prompt_width), bool),
      seeds=seeds[rows],
      max_new_tokens=world.completion_width,
      eos_id=EOS,
      temperature=temperature,
    )
    pieces.append(jax.device_get(found))
  return Drawn(
    *(np.concatenate(column)[:n] for column in zip(*pieces, strict=True))
  )


def mesh() -> Any:
  """One device: the models are too small to be worth splitting."""
  return sharding.make_mesh(devices=jax.devices()[:1])


def prepare(
  name: str,
  progress: Any = None,
  setting: Setting | None = None,
  samples_each: int = sizes.ORACLE_SAMPLES,
) -> Base:
  """Fine-tunes the base policy and computes its oracle lines.

  Args:
    name: of the model, "decoder" or "t5".
    progress: called with (step, steps, loss) now and then.
    setting: default: the world ops with four scored completions a prompt.
    samples_each: of each test prompt for the frontier, which is as rough as
      they are few.
  """
  setting = setting or Setting()
  world = setting.world
  model = models.make(setting.model(name), vocab_size=len(world.vocab))
  params = _fine_tune(world, model, progress)

  def rewards(
    stream: str, n: int, k: int, draws: str
  ) -> tuple[np.ndarray, np.ndarray]:
    rng = world.generator(stream, 0)
    prompts = world.prompts_of(stream, n, rng)
    each = np.repeat(prompts, k, axis=0)
    found = draw(world, model, params, each, draws)
    gold = world.gold_reward(each, found.tokens, found.mask)
    return prompts, gold.reshape(len(prompts), k)

  prompts, gold = rewards("test", sizes.TEST, 2 * samples_each, "sft oracle")
  samples, fresh = (
    gold[:, :samples_each],
    gold[:, samples_each:],
  )
  scale = float((gold + world.offset(prompts, sizes.LEVEL)[:, None]).std())
  judged = {}
  for stream, n in (("test", sizes.TEST), ("validation", sizes.VALIDATION)):
    p, r = rewards(stream, n, 1, f"sft {stream}")
    judged[stream] = Judged(p, r[:, 0])
  return Base(
    setting=setting,
    model=model,
    params=params,
    frontier=ops_metrics.frontier(
      samples, fresh, scale=scale, taus=(*ops_metrics.TAUS, *sizes.ORACLE_TAUS)
    ),
    best_of=tuple(
      ops_metrics.best_of_n(samples, fresh, n)
      for n in (2, 4, 8, 16)
      if n <= samples_each
    ),
    means=samples.mean(axis=1),
    **judged,
  )


def oracle(base: Base) -> list[dict]:
  """The frontier at some tau, and best-of-n sampling, for the report."""
  f = base.frontier
  points: list[dict] = []
  for tau in sizes.ORACLE_TAUS:
    i = int(abs(f.taus - tau).argmin())
    points.append(
      {
        "tau": tau,
        "kl": float(f.kl[i]),
        "reward_gain": float(f.gain[i]),
        "win": float(f.win[i]),
      }
    )
  for best in base.best_of:
    gain = best.reward - f.base
    points.append(
      {
        "name": f"best of {best.n}",
        "kl": best.kl_bound,
        "reward_gain": gain,
        "win": best.win,
      }
    )
  return points


def _fine_tune(world: World, model: Model, progress: Any) -> Params:
  """SFT on 20,000 demonstrations of mixed quality."""
  rng, steps = world.generator("sft", 0), world.sft_steps
  prompts = world.prompts_of("sft", sizes.SFT_PROMPTS, rng)
  tokens, mask = world.demonstrations(prompts, rng)
  optimizer = OptimizerConfig(
    learning_rate=3e-3, warmup_steps=100, schedule="cosine"
  )
  learner = Learner(
    "sft",
    model,
    LearnerConfig(optimizer=optimizer, steps=steps),
    mesh(),
  )
  state = learner.init(jax.jit(model.init)(jax.random.key(0)))
  rows = as_batch(prompts, tokens[:, None], mask[:, None])
  sampler = Sampler(sizes.SFT_PROMPTS, sizes.SFT_BATCH, seed=0)
  for step in range(steps):
    state, metrics = learner.train_step(state, take(rows, sampler, step))
    if progress and step % 50 == 49:
      progress(step + 1, steps, finish(metrics)["loss"])
  return state.params["policy"]


def as_batch(
  prompts: np.ndarray,
  tokens: np.ndarray,
  mask: np.ndarray,
  rewards: np.ndarray | None = None,
  ref_logps: np.ndarray | None = None,
  token_logps: np.ndarray | None = None,
) -> Batch:
  """All rows as one batch; labels are above the dataset's mean reward.

  `token_logps` [n, K, T] are of the SFT policy, which is the reference and
  wrote the completions.
  """
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
    ref_token_logps=token_logps,
    behaviour_token_logps=token_logps,
  )


def take(rows: Batch, sampler: Sampler, step: int) -> Batch:
  """The batch of a step."""
  indices = sampler.indices(step)
  return jax.tree.map(lambda x: x[indices], rows)
