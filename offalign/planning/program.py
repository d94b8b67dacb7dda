"""The train step of a planned run, with shapes in place of arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from offalign import losses
from offalign.data.views.rows import Needs
from offalign.distributed import sharding
from offalign.errors import UserError, option
from offalign.learner import Learner, LearnerConfig
from offalign.models.base import Model
from offalign.models.hf.checkpoint import shapes_of
from offalign.models.lora import LoraConfig
from offalign.types import Batch, Kind, Params


@dataclasses.dataclass(frozen=True)
class PlanConfig:
  """Options of a plan; every field is a flag.

  Most are short names of a training run's options, which a plan takes too.

  Attributes:
    model: a name on the Hugging Face hub (of which config.json alone is
      read), a folder, a config.json, or a new model by spec. No weights are
      needed.
    topology: required; TPU chips, e.g. v5e:4x4 or v5p:4x4x4.
    loss: a loss by spec; default dro_v.
    imports: modules of yours, with commas, that register losses.
    batch: prompts in an update (the global batch); default 32.
    prompt: tokens of every prompt; default 512, or, beside flags of training,
      the most that those allow.
    completion: tokens of every completion; default 256, or likewise.
    group_size: completions a prompt (K), for losses on groups; default 4.
    mesh: e.g. data=2,fsdp=8,tensor=1, where an axis left out is 1 and -1
      takes all devices left; "fsdp" for all devices along fsdp; or "auto" to
      try several meshes and rank them. Default fsdp, or, beside flags of
      training, theirs.
    microbatches: pieces that the batch is cut into to save memory; default 1.
    compute_dtype: precision of the activations; params stay in float32, but
      for weights that LoRA freezes. Default bfloat16, or, beside flags of
      training, theirs.
    optimizer: adam, the default, or adafactor as in the DRO paper.
    value: network of the value function, for losses that need one; default
      separate.
    lora: adapters that train instead of the weights.
    fit: search for the mesh, the microbatches and the remat of the fastest
      plan that fits, and print its offalign train command; what is given of
      these is kept.
    fit_compiles: most programs that the search compiles; default 12.
    out: a file to write all figures to, as JSON.
  """

  model: str | None = None
  topology: str = ""
  loss: str | None = None
  imports: str | None = None
  batch: int | None = None
  prompt: int | None = None
  completion: int | None = None
  group_size: int | None = None
  mesh: str | None = None
  microbatches: int | None = None
  compute_dtype: Literal["float32", "bfloat16"] | None = None
  optimizer: Literal["adam", "adafactor"] | None = None
  value: Literal["separate", "shared", "encoder"] | None = None
  lora: LoraConfig | None = None
  fit: bool = False
  fit_compiles: int | None = None
  out: str | None = None


@dataclasses.dataclass(frozen=True)
class Step:
  """A train step to plan, apart from its model and its mesh.

  Attributes:
    loss: a loss by spec.
    learner: how it is trained.
    batch: B, prompts in an update.
    prompt: P, tokens of every prompt.
    completion: T, tokens of every completion.
    k: K, completions a prompt.
    demonstrations: N, of a second source; None = there is none.
    moves: whether the reference moves between rounds. Where the loss runs it
      in each step, its weights are beside those that it moved from.
  """

  loss: str
  learner: LearnerConfig
  batch: int
  prompt: int
  completion: int
  k: int
  demonstrations: int | None = None
  moves: bool = False


def completions(loss: str, group_size: int | None) -> int:
  """K, the completions a prompt, which the loss's kind of feedback decides.

  Args:
    loss: by spec.
    group_size: of losses on groups; None = 4.

  Raises:
    UserError: for a group size that the loss would not use.
  """
  kind = losses.get(loss).kind
  if kind is Kind.GROUP:
    size = 4 if group_size is None else group_size
    if size < 2:
      raise UserError(f"{option('group_size')} must be at least 2, not {size}")
    return size
  if group_size is not None:
    raise UserError(
      f"{option('group_size')} is set, but loss {loss!r} is not on groups; "
      "leave it out"
    )
  return 2 if kind is Kind.PAIR else 1


@dataclasses.dataclass(frozen=True)
class Program:
  """A train step and what goes into it, as shapes with shardings.

  Attributes:
    learner: the learner that the `train_step` belongs to.
    state: the `TrainState`, as shapes.
    batch: the batch of B prompts, as shapes.
    ref_params: the weights that LoRA freezes, or of a reference that the
      loss needs in the step; None without these, since log-probs under the
      reference are columns of the batch.
    demonstrations: of a second source, likewise; None where there is none.
    reference: the weights of a reference that the loss needs in the step and
      that the run does not start from, likewise.
    idle: weights that lie beside the step: of a reference that moved, those
      that it moved from.
  """

  learner: Learner
  state: Any
  batch: Batch
  ref_params: Params | None
  demonstrations: Batch | None = None
  reference: Params | None = None
  idle: Params | None = None

  def trace(self) -> Any:
    """Traces the step; `.lower().compile()` on the result compiles it."""
    given = [self.state, self.batch, self.ref_params]
    if self.demonstrations is not None or self.reference is not None:
      given.append(self.demonstrations)
    if self.reference is not None:
      given.append(self.reference)
    return self.learner.train_step.trace(*given)


def build(
  step: Step, model: Model, mesh: Mesh, reference: Model | None = None
) -> Program:
  """Builds the step that training would compile on these devices.

  Args:
    step: what to plan.
    model: the model to train.
    mesh: a mesh over real devices or over those of a `Slice`.
    reference: the model of a reference that the run does not start from;
      nothing is taken of it where the loss does not run it in the step.

  Raises:
    UserError: for options that the loss or the model does not take, or a
      batch that the mesh does not divide.
  """
  config = step.learner
  sharding.check_batch_size(mesh, step.batch, config.microbatches)
  learner = learner_of(step.loss, model, config, mesh, reference)
  policy = weights(model, config)
  frozen = None
  if learner.has_frozen_weights:
    splits = sharding.state_shardings(mesh, policy, model.splits)
    frozen = sharding.placed(policy, splits)
  state = sharding.placed(
    jax.eval_shape(learner.fresh, policy), learner.shardings(policy)
  )
  more = None
  if step.demonstrations is not None:
    sharding.check_batch_size(mesh, step.demonstrations, config.microbatches)
    theirs = dataclasses.replace(step, batch=step.demonstrations, k=1)
    more = _batch(theirs, losses.get("sft").needs, mesh)
  batch = _batch(step, learner.loss.needs, mesh)
  beside = None
  if (found := beside_start(learner, config, policy, step.moves)) is not None:
    shapes, splits = found
    beside = sharding.placed(
      shapes, sharding.state_shardings(mesh, shapes, splits)
    )
  idle = None
  if beside is not None and config.lora is None:
    frozen, idle = None, frozen
  return Program(learner, state, batch, frozen, more, beside, idle)


def learner_of(
  loss: str,
  model: Model,
  config: LearnerConfig,
  mesh: Mesh,
  reference: Model | None,
) -> Learner:
  """The learner of a run, with its reference's model where a step runs it."""
  runs = losses.get(loss).runs_reference
  return Learner(
    loss, model, config, mesh, reference=reference if runs else None
  )


def beside_start(
  learner: Learner, config: LearnerConfig, policy: Params, moves: bool
) -> tuple[Params, Mapping[str, sharding.Split]] | None:
  """A reference that the run does not start from, where a step runs it.

  Args:
    learner: of the run.
    config: its options.
    policy: the weights that the run starts from, as shapes.
    moves: see `Step.moves`.

  Returns:
    Its weights as shapes, with LoRA the adapters of one that moved, and how
    they are split; None where a step runs no such reference.
  """
  if learner.reference is not None:
    return weights(learner.reference, config), learner.reference.splits
  if not (moves and learner.loss.runs_reference):
    return None
  trained = jax.eval_shape(learner.fresh, policy).params["policy"]
  if config.lora is not None:
    trained = _as(trained, jnp.dtype(config.compute_dtype or "float32"))
  return trained, learner.model.splits


def weights(model: Model, config: LearnerConfig) -> Params:
  """The policy's weights as training reads them, as shapes.

  In float32; under LoRA, which freezes them, in the compute dtype.
  """
  policy = shapes_of(model)
  if config.lora is None or config.compute_dtype is None:
    return policy
  return _as(policy, jnp.dtype(config.compute_dtype))


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


def _batch(step: Step, needs: tuple[str, ...], mesh: Mesh) -> Batch:
  b, k = step.batch, step.k
  rows = NamedSharding(mesh, PartitionSpec(sharding.BATCH_AXES))

  def column(dtype: str, *sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((b, *sizes), dtype, sharding=rows)

  reads = Needs.of(needs)
  sums: dict[str, Any] = {
    name: column("float32", k) for name, need in _SUMS.items() if need in needs
  }
  sums |= {
    name: column("float32", k, step.completion)
    for name in _TOKENS
    if name in needs
  }
  return Batch(
    prompts=column("int32", step.prompt),
    prompt_mask=column("bool", step.prompt),
    completions=column("int32", k, step.completion),
    completion_mask=column("bool", k, step.completion),
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
