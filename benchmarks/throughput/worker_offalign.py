"""offalign's own worker: the learner's train step, as a run makes it."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
from typing import Any

import jax
import numpy as np

from benchmarks.throughput import protocol
from benchmarks.throughput.cases import MODELS, Case
from offalign.distributed import sharding
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.models import hf
from offalign.models.base import Remat
from offalign.training.metrics import finish
from offalign.types import Batch, Params

REMAT: Remat = "dots"
"""Half the memory of "none" at 60M, and no slower here."""
NETWORK: Any = os.environ.get("THROUGHPUT_VALUE")
"""The value's, where it is not the default."""
LOSSES = {"dpo": "dpo(beta=0.1)", "kto": "kto(beta=0.1)", "dro_v": "dro_v"}


def batch(case: Case, step: int) -> Batch:
  """Random tokens, a new batch for every step; no padding anywhere."""
  rng = np.random.default_rng(step)
  b, k, vocab = case.prompts, case.per_prompt, MODELS[case.model]["vocab_size"]
  shape = (b, k, case.completion)
  columns: dict[str, Any] = {"ref_logps": np.full((b, k), -600.0, np.float32)}
  if case.loss == "kto":
    columns["labels"] = rng.random((b, k)) < 0.5
    columns["ref_mismatched_logps"] = columns["ref_logps"]
  if case.loss == "dro_v":
    columns["rewards"] = rng.normal(size=(b, k)).astype(np.float32)
  return Batch(
    prompts=rng.integers(3, vocab, (b, case.prompt), dtype=np.int32),
    prompt_mask=np.ones((b, case.prompt), bool),
    completions=rng.integers(3, vocab, shape, dtype=np.int32),
    completion_mask=np.ones(shape, bool),
    weight=np.ones(b, np.float32),
    **columns,
  )


def learner_for(case: Case) -> tuple[Learner, OptimizerConfig]:
  """The learner of a case, and its optimiser."""
  config = MODELS[case.model]
  if case.weights:
    path = pathlib.Path(case.weights) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
  model = hf.describe(config, spec=case.model, tied=True)
  optimizer = (
    OptimizerConfig(name="adafactor", learning_rate=1e-4)
    if case.loss == "dro_v"  # as the paper; and two networks are in memory
    else OptimizerConfig(learning_rate=1e-5, weight_decay=0.01)
  )
  settings = LearnerConfig(
    value=ValueConfig(NETWORK) if NETWORK else None,
    optimizer=optimizer,
    remat=REMAT,
  )
  learner = Learner(LOSSES[case.loss], model, settings, sharding.one_device())
  return learner, optimizer


def weights(case: Case, learner: Learner) -> Params:
  """The policy that a case starts from."""
  if case.weights:
    return hf.load(case.weights)[1]
  return jax.jit(learner.model.init)(jax.random.key(0))


def main() -> None:
  """Builds the learner and serves."""
  speaker, case = protocol.Speaker(), protocol.case()
  learner, optimizer = learner_for(case)
  policy = weights(case, learner)
  parameters = sum(x.size for x in jax.tree.leaves(policy))
  state, count = learner.init(policy), 0
  del policy  # the reference is columns

  def step() -> float:
    nonlocal state, count
    rows = sharding.put_batch(learner.mesh, batch(case, count))
    state, metrics = learner.train_step(state, rows)
    count += 1
    return finish(metrics)["loss"]

  protocol.serve(
    step,
    speaker=speaker,
    parameters=parameters,
    remat=REMAT,
    value=NETWORK or "default",
    optimizer=dataclasses.asdict(optimizer),
    versions={n: importlib.metadata.version(n) for n in ("jax", "flax")},
  )


if __name__ == "__main__":
  main()
