"""The train step of a planned run, with shapes in place of arrays."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from offalign import losses
from offalign.data.views.rows import Needs
from offalign.distributed import sharding
from offalign.errors import UserError, option
from offalign.learner import Learner, LearnerConfig
from offalign.learner.optim import OptimizerConfig
from offalign.learner.value import ValueConfig
from offalign.models.attending import AttentionPath
from offalign.models.base import Model
from offalign.models.hf.checkpoint import shapes_of
from offalign.models.lora import LoraConfig
from offalign.types import Batch, Kind, Params


@dataclasses.dataclass(frozen=True)
class PlanConfig:
  """Options of a plan; every field is a flag.

  Attributes:
    model: required; a name on the Hugging Face hub (of which config.json
      alone is read), a folder, or a config.json. No weights are needed.
    topology: required; TPU chips, e.g. v5e:4x4 or v5p:4x4x4.
    loss: a loss by spec.
    imports: modules of yours, with commas, that register losses.
    batch: prompts in an update (the global batch).
    prompt: tokens of every prompt.
    completion: tokens of every completion.
    group_size: completions a prompt (K), for losses on groups; default 4.
    mesh: e.g. data=2,fsdp=8,tensor=1, where an axis left out is 1 and -1
      takes all devices left; "fsdp" for all devices along fsdp; or "auto" to
      try several meshes and rank them.
    microbatches: pieces that the batch is cut into to save memory.
    attention: how attention is computed.
    compute_dtype: precision of the activations; params stay in float32, but
      for weights that LoRA freezes.
    optimizer: adam, or adafactor as in the DRO paper.
    value: network of the value function, for losses that need one; default
      separate.
    lora: adapters that train instead of the weights.
    out: a file to write all figures to, as JSON.
  """

  model: str = ""
  topology: str = ""
  loss: str = "dro_v"
  imports: str | None = None
  batch: int = 32
  prompt: int = 512
  completion: int = 256
  group_size: int | None = None
  mesh: str = "fsdp"
  microbatches: int = 1
  attention: AttentionPath = "auto"
  compute_dtype: Literal["float32", "bfloat16"] = "bfloat16"
  optimizer: Literal["adam", "adafactor"] = "adam"
  value: Literal["separate", "shared"] | None = None
  lora: LoraConfig | None = None
  out: str | None = None


def check(config: PlanConfig) -> None:
  """Checks the flags as far as that needs no model.

  Raises:
    UserError: naming the flag.
  """
  examples = {"model": "google/flan-t5-large", "topology": "v5e:4x4"}
  for name, example in examples.items():
    if not getattr(config, name):
      raise UserError(
        f"{option(name)} is missing; give one such as {option(name, example)}"
      )
  for name in ("batch", "prompt", "completion", "microbatches"):
    if getattr(config, name) < 1:
      raise UserError(
        f"{option(name)} must be at least 1, not {getattr(config, name)}"
      )
  completions(config)


def completions(config: PlanConfig) -> int:
  """K, the completions a prompt, which the loss's kind of feedback decides.

  Raises:
    UserError: for a group size that the loss would not use.
  """
  kind = losses.get(config.loss).kind
  if kind is Kind.GROUP:
    size = 4 if config.group_size is None else config.group_size
    if size < 2:
      raise UserError(f"{option('group_size')} must be at least 2, not {size}")
    return size
  if config.group_size is not None:
    raise UserError(
      f"{option('group_size')} is set, but loss {config.loss!r} is not on "
      "groups; leave it out"
    )
  return 2 if kind is Kind.PAIR else 1


@dataclasses.dataclass(frozen=True)
class Program:
  """A train step and what goes into it, as shapes with shardings.

  Attributes:
    learner: the learner that the `train_step` belongs to.
    state: the `TrainState`, as shapes.
    batch: the batch of B prompts, as shapes.
    ref_params: the weights that LoRA freezes; None without it, since
      log-probs under the reference are columns of the batch.
  """

  learner: Learner
  state: Any
  batch: Batch
  ref_params: Params | None

  def trace(self) -> Any:
    """Traces the step; `.lower().compile()` on the result compiles it."""
    return self.learner.train_step.trace(
      self.state, self.batch, self.ref_params
    )


def build(config: PlanConfig, model: Model, mesh: Mesh) -> Program:
  """Builds the step that training would compile on these devices.

  Args:
    config: the flags.
    model: the model to train.
    mesh: a mesh over real devices or over those of a `Slice`.

  Raises:
    UserError: for options that the loss or the model does not take, or a
      batch that the mesh does not divide.
  """
  sharding.check_batch_size(mesh, config.batch, config.microbatches)
  value = None if config.value is None else ValueConfig(network=config.value)
  learner = Learner(
    config.loss,
    model,
    LearnerConfig(
      value=value,
      lora=config.lora,
      optimizer=OptimizerConfig(name=config.optimizer),
      microbatches=config.microbatches,
      attention=config.attention,
      compute_dtype=config.compute_dtype,
    ),
    mesh,
  )
  policy = shapes_of(model)
  if config.lora is not None:
    policy = _as(policy, jnp.dtype(config.compute_dtype))
  frozen = None
  if learner.has_frozen_weights:
    splits = sharding.state_shardings(mesh, policy, model.splits)
    frozen = sharding.placed(policy, splits)
  state = sharding.placed(
    jax.eval_shape(learner.fresh, policy), learner.shardings(policy)
  )
  return Program(learner, state, _batch(config, learner, mesh), frozen)


def _as(tree: Any, dtype: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), tree)


_SUMS = {
  "ref_logps": "ref_logps",
  "ref_prefix_logps": "ref_prefix_logps",
  "ref_mismatched_logps": "kl",
  "behaviour_logps": "behaviour_logps",
}
"""Column of the batch -> the entry of a loss's `needs` that requires it."""

_TOKENS = (
  "behaviour_token_logps",
  "ref_token_logps",
  "token_rewards",
  "token_weights",
  "old_token_values",
)
"""Columns of the batch by token, named as in `needs`."""


def _batch(config: PlanConfig, learner: Learner, mesh: Mesh) -> Batch:
  b, k = config.batch, completions(config)
  rows = NamedSharding(mesh, PartitionSpec(sharding.BATCH_AXES))

  def column(dtype: str, *sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((b, *sizes), dtype, sharding=rows)

  needs = learner.loss.needs
  reads = Needs.of(needs)
  sums: dict[str, Any] = {
    name: column("float32", k) for name, need in _SUMS.items() if need in needs
  }
  sums |= {
    name: column("float32", k, config.completion)
    for name in _TOKENS
    if name in needs
  }
  return Batch(
    prompts=column("int32", config.prompt),
    prompt_mask=column("bool", config.prompt),
    completions=column("int32", k, config.completion),
    completion_mask=column("bool", k, config.completion),
    weight=column("float32"),
    rewards=column("float32", k) if reads.rewards else None,
    margins=column("float32") if reads.margins else None,
    labels=column("bool", k) if reads.labels else None,
    **sums,
  )


def bytes_per_device(tree: Any) -> int:
  """Bytes that one device holds of a tree of sharded shapes, unpadded."""
  total = 0
  for leaf in jax.tree.leaves(tree):
    size = leaf.dtype.itemsize
    for n in leaf.sharding.shard_shape(leaf.shape):
      size *= n
    total += size
  return total
