"""Time a learner's train step, and say where its time goes."""

import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time
from typing import Any, Literal, cast

import jax
import numpy as np
from jax.errors import JaxRuntimeError

from benchmarks import trace
from benchmarks.gpu import devices, flops
from benchmarks.gpu.flops import Tokens
from benchmarks.gpu.sizes import Task, Way
from offalign.distributed import sharding
from offalign.errors import UserError
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.models import hf
from offalign.models.base import Model
from offalign.training.compiling import Compiling
from offalign.types import Batch, Params

TURNS, STEPS, TRACED = 5, 4, 3


@dataclasses.dataclass(frozen=True)
class Measured:
  """What a step took.

  Attributes:
    way: how it saved memory.
    seconds: of a step, by turn.
    compiling: seconds.
    loss: of the last step.
    flops: that it needs.
    mfu: see `devices.mfu`.
    program_gb: of the compiled step: arguments, results and temporaries.
    peak_gb: that the device held at most, or None.
    idle: share of the time in which the device did nothing.
    kinds: kind of operation -> share of the device's time.
    refused: ways that did not fit, with the reason.
  """

  way: str
  seconds: list[float]
  compiling: float
  loss: float
  flops: float
  mfu: float | None
  program_gb: float
  peak_gb: float | None
  idle: float
  kinds: dict[str, float]
  refused: list[str]

  @property
  def median(self) -> float:
    """The median of `seconds`."""
    return statistics.median(self.seconds)


def model_of(config: dict[str, Any], name: str) -> Model:
  """The model of a config.json, without weights."""
  tied = bool(config.get("tie_word_embeddings", True))
  return hf.describe(config, spec=name, tied=tied)


def weights_of(task: Task) -> tuple[Model, Params]:
  """The model of a task with its weights, read or random."""
  if task.weights is not None:
    return hf.load(task.weights)
  model = model_of(task.config, task.name)
  return model, jax.jit(model.init)(jax.random.key(0))


def batch(task: Task, seed: int) -> Batch:
  """Random tokens without padding, and the columns of the task's loss."""
  rng, t = np.random.default_rng(seed), task.tokens
  vocab, shape = task.config["vocab_size"], (t.prompts, t.per_prompt)
  rewards = None
  if task.loss.startswith("dro"):
    rewards = rng.normal(size=shape).astype(np.float32)
  tokens = (*shape, t.completion)
  return Batch(
    prompts=rng.integers(3, vocab, (t.prompts, t.prompt), dtype=np.int32),
    prompt_mask=np.ones((t.prompts, t.prompt), bool),
    completions=rng.integers(3, vocab, tokens, dtype=np.int32),
    completion_mask=np.ones(tokens, bool),
    weight=np.ones(t.prompts, np.float32),
    rewards=rewards,
    # Near those of random weights, so that the first losses are small.
    ref_logps=np.full(shape, -t.completion * np.log(vocab), np.float32),
  )


def learner_of(task: Task, way: Way, model: Model, **options: Any) -> Learner:
  """The learner of a task, in bfloat16 with float32 weights."""
  name = cast(Literal["adam", "adafactor"], task.optimizer)
  config = LearnerConfig(
    optimizer=OptimizerConfig(name=name, learning_rate=1e-5),
    compute_dtype="bfloat16",
    remat=way.remat,
    microbatches=way.microbatches,
    **options,
  )
  return Learner(task.loss, model, config, sharding.one_device())


def measure(task: Task, *, turns: int = TURNS, **options: Any) -> Measured:
  """Times the first way of a task that fits in memory.

  Args:
    task: what to time.
    turns: of `STEPS` steps.
    options: of `LearnerConfig`.

  Raises:
    UserError: where no way fits.
  """
  refused: list[str] = []
  for way in task.ways:
    try:
      return _measure(task, way, turns, refused, options)
    except JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" not in str(error):
        raise
      refused.append(f"{way} does not fit: {str(error).splitlines()[0]:.160}")
  raise UserError(f"{task.name}: no way fits. " + "; ".join(refused))


def _measure(
  task: Task, way: Way, turns: int, refused: list[str], options: dict[str, Any]
) -> Measured:
  with Compiling() as compiling:
    model, params = weights_of(task)
    learner = learner_of(task, way, model, **options)
    state = learner.init(params)
    del params
    place = functools.partial(sharding.put_batch, learner.mesh)
    batches = [place(batch(task, seed)) for seed in range(4)]
    step = learner.train_step.lower(state, batches[0]).compile()
  metrics: Any = None

  def steps(n: int) -> float:
    nonlocal state, metrics
    began = time.perf_counter()
    for i in range(n):
      state, metrics = step(state, batches[i % len(batches)])
    jax.block_until_ready(metrics)
    return (time.perf_counter() - began) / n

  steps(2)
  seconds = [steps(STEPS) for _ in range(turns)]
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      steps(TRACED)
    ops = trace.read(pathlib.Path(folder))
  losses = np.asarray(metrics["losses"])
  if not np.isfinite(losses).all():
    raise FloatingPointError(f"{task.name}: losses are not finite: {losses}")
  needed = flops.of_step(
    learner.model,
    task.config,
    task.tokens,
    value=learner.loss.needs_value,
  )
  name = jax.devices()[0].device_kind
  return Measured(
    way=str(way),
    seconds=seconds,
    compiling=compiling.seconds,
    loss=float(losses.mean()),
    flops=needed,
    mfu=devices.mfu(needed, statistics.median(seconds), name),
    program_gb=program_gb(step),
    peak_gb=devices.memory().get("peak"),
    idle=trace.idle(ops),
    kinds=trace.by_kind(ops),
    refused=list(refused),
  )


def program_gb(compiled: Any) -> float:
  """GB of a compiled program's arguments, results and temporaries."""
  found = compiled.memory_analysis()
  sizes = (
    found.argument_size_in_bytes,
    found.output_size_in_bytes,
    found.temp_size_in_bytes,
    -found.alias_size_in_bytes,
  )
  return sum(sizes) / 1e9


def tokens_a_second(tokens: Tokens, seconds: float) -> float:
  """Of a step; tokens as `Tokens.processed` counts them."""
  return tokens.processed / seconds
