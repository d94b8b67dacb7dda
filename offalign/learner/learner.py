"""The learner: one train step that takes any registered loss.

The learner supplies exactly the columns that the loss declares, refuses a
loss or batch that it cannot serve before anything is computed, and never
looks at the loss's name.
"""

import copy
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from offalign import losses, spec
from offalign.distributed import constraints, sharding
from offalign.errors import OPTIONS, UserError, concerning, option
from offalign.learner import optim
from offalign.learner import ptx as ptx_lib
from offalign.learner import value as value_lib
from offalign.learner.check_batch import check_batch
from offalign.learner.objective import Means, Objective
from offalign.losses import Loss
from offalign.models import attending, chunked_softmax
from offalign.models import lora as lora_lib
from offalign.models.attending import AttentionPath
from offalign.models.base import Model, Remat
from offalign.types import Array, Batch, Params


@struct.dataclass
class TrainState:
  """Training state: everything that a step changes.

  The position in the data is not stored; it follows from `step`.

  Attributes:
    step: int32 [], updates made so far.
    params: {"policy": ...} and, where the loss needs values, "value". With
      LoRA these hold adapters alone, but for the value's head.
    opt_state: an optimiser state for each entry of `params`.
    loss_state: state that the loss carries from batch to batch, such as a
      running mean; {} for most losses.
  """

  step: Array
  params: Params
  opt_state: Any
  loss_state: Any = struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
  """Options of the learner, besides the loss and the model.

  Attributes:
    value: how V is computed; None = the default where the loss needs values.
    lora: LoRA adapters to train; None = train all weights.
    optimizer: for policy and value.
    steps: updates in the whole run; a cosine schedule ends there.
    microbatches: pieces that each batch is cut into to save memory.
    compute_dtype: "bfloat16" for mixed precision; None = as the params.
    remat: what of each layer the backward pass recomputes, to save memory.
    attention: how attention is computed. Changes memory and time, not results.
    logp_chunk: tokens of the vocabulary whose logits exist at one time on
      each device; None for as many as fit a few dozen megabytes. Changes
      memory and time, not results.
    router_aux_loss_coef: weight of a mixture of experts' load-balancing loss;
      None = that of the checkpoint; 0 = none.
    ptx: weight of the imitation of demonstrations, which each step then takes
      beside its batch; None = no such term.
  """

  value: value_lib.ValueConfig | None = None
  lora: lora_lib.LoraConfig | None = None
  optimizer: optim.OptimizerConfig = dataclasses.field(
    default_factory=optim.OptimizerConfig
  )
  steps: int = 1000
  microbatches: int = 1
  compute_dtype: Literal["bfloat16", "float32"] | None = None
  remat: Remat = "none"
  attention: AttentionPath = "auto"
  logp_chunk: int | None = None
  router_aux_loss_coef: float | None = None
  ptx: float | None = None

  def __post_init__(self) -> None:
    spec.check_fields("", self)
    for name in ("steps", "microbatches", "logp_chunk"):
      number = getattr(self, name)
      if number is not None and number < 1:
        raise UserError(f"{option(name)} must be at least 1, not {number}")
    weight = self.router_aux_loss_coef
    if weight is not None and not 0 <= weight < math.inf:
      raise UserError(
        f"{option('router_aux_loss_coef')} must be 0 or more, not {weight}"
      )
    if self.ptx is not None and not 0 < self.ptx < math.inf:
      raise UserError(f"{option('ptx.coef')} must be above 0, not {self.ptx}")


class Learner:
  """Trains a model on a loss. Holds configuration only; state is passed.

  Attributes:
    loss: the loss object.
    model: the policy's model.
    mesh: the devices.
    attention: how attention is computed.
    reference: the model of the reference, where a step runs one that is not
      the policy's; None otherwise.
    has_frozen_weights: whether `train_step` needs `ref_params` whatever the
      batch holds: as the frozen weights under LoRA's adapters, or as the
      reference of a loss that needs `token_kls`, where that has the policy's
      model.
    needs_reference_weights: whether `train_step` needs `ref_params` for any
      reason: as frozen weights, or to compute a column of log-probs that a
      batch may lack (see `Objective.grads`).
  """

  def __init__(
    self,
    loss: str | Loss,
    model: Model,
    config: LearnerConfig | None = None,
    mesh: Mesh | None = None,
    *,
    reference: Model | None = None,
  ):
    """Checks that the configuration fits the loss.

    Args:
      loss: the loss, or its spec.
      model: the policy's model.
      config: the options.
      mesh: the devices; default: all of them.
      reference: the model of the reference, for a loss that runs it in each
        step; default: the policy's.

    Raises:
      UserError: for an option that the loss would not use, or LoRA adapters
        or an encoder's value for what the model does not have.
    """
    config = config or LearnerConfig()
    self.loss = losses.get(loss)
    self.mesh = sharding.make_mesh() if mesh is None else mesh
    model = attending.choose(
      _rematted(model, config.remat), config.attention, self.mesh
    )
    self.attention = config.attention
    self.model = model
    has_value = self.loss.needs_value
    if config.value is not None and not has_value:
      raise UserError(
        f"{option('value.*')} {OPTIONS} are set but loss {str(self.loss)!r} "
        "has no value function; leave them out, or choose a loss that needs "
        "values"
      )
    self._lora = lora = config.lora
    if reference is not None:
      reference = self._beside(reference)
    self.reference = reference
    live = self.loss.runs_reference and reference is None
    self.has_frozen_weights = lora is not None or live
    columns = {"kl", "ref_prefix_logps", "ref_token_logps"} & set(
      self.loss.needs
    )
    self.needs_reference_weights = bool(columns) or self.has_frozen_weights
    if lora is not None:
      lora_lib.targets(lora, jax.eval_shape(model.init, jax.random.key(0)))
    self._optimizer, self._steps = config.optimizer, config.steps
    self._transforms = optim.make(
      config.optimizer, value=has_value, steps=config.steps
    )
    self._value = (
      value_lib.choose(config.value, self.loss) if has_value else None
    )
    if self._value is not None and self._value.network == "encoder":
      value_lib.encoder_of(model)
    self._objective = Objective(
      loss=self.loss,
      model=model,
      value=self._value,
      microbatches=config.microbatches,
      compute_dtype=config.compute_dtype,
      logp_chunk=config.logp_chunk,
      layout=chunked_softmax.layout(self.mesh, model.vocab_size),
      balance=_balance(config.router_aux_loss_coef, model, self.loss),
      reference_model=reference,
    )
    self._ptx = ptx_lib.term(config.ptx, self.loss)

  def _beside(self, reference: Model) -> Model:
    """The model of another reference, as a step runs it."""
    if not self.loss.runs_reference:
      raise UserError(
        f"loss {str(self.loss)!r} runs no reference in its steps: leave the "
        "reference's model out, and store its log-probs"
      )
    with concerning(option("reference")):
      return attending.choose(reference, self.attention, self.mesh)

  def learning_rate(self, step: int) -> float:
    """The policy's learning rate for the update that follows `step`.

    Computed on a CPU where jax has one, so as not to wait for the devices.
    """
    peak = optim.peak(self._optimizer)
    with jax.default_device(_cpu()):
      return float(optim.schedule(self._optimizer, peak, self._steps)(step))

  def fresh(self, policy: Params, seed: int = 0) -> TrainState:
    """Builds the initial state; pure, so `jax.eval_shape` works on it."""
    if self._lora is not None:
      policy = lora_lib.init(self._lora, jax.random.key(seed), policy)
    params = {"policy": jax.tree.map(jnp.copy, policy)}
    if self._value is not None:
      params["value"] = value_lib.init(self._value, self.model, policy)
    opt_state = {
      name: tx.init(params[name]) for name, tx in self._transforms.items()
    }
    step = jnp.zeros((), jnp.int32)
    return TrainState(step, params, opt_state, self.loss.init_state())

  def shardings(self, policy: Params) -> TrainState:
    """The sharding of every leaf of the state."""
    shapes = jax.eval_shape(self.fresh, policy)
    return sharding.state_shardings(self.mesh, shapes, self.model.splits)

  def init(self, policy: Params, seed: int = 0) -> TrainState:
    """Builds the initial state, already sharded over the mesh.

    Args:
      policy: the policy's params; copied, so that the originals can serve as
        the reference. With LoRA they are not copied but passed to each step.
      seed: initialises LoRA's adapters; without LoRA it has no effect.
    """
    fresh = jax.jit(self.fresh, out_shardings=self.shardings(policy))
    return fresh(policy, seed)

  def varied(
    self, numbers: Mapping[str, Array], rates: Mapping[str, Array]
  ) -> "Learner":
    """This learner at other numbers, for use inside jit.

    A step compiled over it serves every tau and every learning rate, where
    compiling takes longer than training.

    Args:
      numbers: option of the loss -> scalar; see `Loss.of_numbers`.
      rates: "policy" and "value" -> scalar that each update is multiplied by,
        so of a learner whose rates are 1 the learning rates themselves.
    """

    def scaled(
      tx: optax.GradientTransformation, rate: Array
    ) -> optax.GradientTransformation:
      def update(updates: Params, state: Any, params: Any = None) -> Any:
        updates, state = tx.update(updates, state, params)
        return optax.tree.scale(rate, updates), state

      return optax.GradientTransformation(tx.init, update)

    other = copy.copy(self)
    other.loss = self.loss.of_numbers(numbers)
    other._objective = dataclasses.replace(self._objective, loss=other.loss)
    other._transforms = {
      name: scaled(tx, rates[name]) for name, tx in self._transforms.items()
    }
    return other

  def of_model(self, model: Model) -> "Learner":
    """This learner for scoring another model's policy; trains nothing.

    Args:
      model: the other model; without adapters, of any size.
    """
    layout = chunked_softmax.layout(self.mesh, model.vocab_size)
    other = copy.copy(self)
    for name in ("train_step", "score", "score_tokens", "evaluate", "reward"):
      other.__dict__.pop(name, None)  # compiled for this model
    other.model, other._lora, other.reference = model, None, None
    other._objective = dataclasses.replace(
      self._objective, model=model, layout=layout, reference_model=None
    )
    return other

  def policy(self, params: Params, ref_params: Params | None) -> Params:
    """The policy's params in the form that the model takes.

    Args:
      params: the `params` of a `TrainState`.
      ref_params: with LoRA, the frozen weights; they are not copied.
    """
    if self._lora is None:
      return params["policy"]
    return lora_lib.combine(self._lora, ref_params, params["policy"])

  def step(
    self,
    state: TrainState,
    batch: Batch,
    ref_params: Params | None = None,
    demonstrations: Batch | None = None,
    reference: Params | None = None,
  ) -> tuple[TrainState, dict[str, Array]]:
    """Makes one update; pure and not compiled, for use in a scan or a vmap.

    Args:
      state: the state before the update.
      batch: B prompts with K completions, with the columns that the loss
        needs (see `check_batch`).
      ref_params: the reference's weights where `needs_reference_weights`;
        with LoRA, the weights that `init` was given.
      demonstrations: N prompts with one completion each, where the learner
        has `ptx`.
      reference: the reference's weights, where they are not `ref_params`: those
        of the model `reference`; or, where the reference moved, the policy's
        params of an earlier `TrainState`, with LoRA its adapters.

    Returns:
      The next state, and metrics: "losses" [B], "grad_norm" (the policy's),
      "grad_norm/value", and under "means", for every metric of the loss, a
      pair (sum, weight) whose ratio is its mean.
    """
    ptx_lib.check(self._ptx, demonstrations)
    objective, ref_params = self._on(ref_params, reference)
    loss_state = objective.next_state(
      state.params, batch, ref_params, state.loss_state
    )
    grads, row_losses, means = objective.grads(
      state.params, batch, ref_params, loss_state
    )
    if self._ptx is not None:
      assert demonstrations is not None
      grads, means = self._ptx.onto(
        objective, state.params, demonstrations, grads, means
      )
    grads = constraints.place(self.mesh, grads, self.model.splits)
    norms = {
      "grad_norm" if name == "policy" else f"grad_norm/{name}": (
        optax.tree.norm(grads[name])
      )
      for name in grads
    }
    params, opt_state = optim.update(
      self._transforms, grads, state.opt_state, state.params
    )
    new = TrainState(state.step + 1, params, opt_state, loss_state)
    return new, {"losses": row_losses, **norms, "means": means}

  @functools.cached_property
  def train_step(self) -> Any:
    """Compiled `step`; the state passed in is donated."""
    stays = constraints.staying(self.mesh, self.model.splits, self.step)
    return jax.jit(stays, donate_argnums=0)

  @functools.cached_property
  def score(self) -> Any:
    """Compiled (policy params, batch) -> [B, K] summed log-probs."""
    return jax.jit(
      constraints.readable(self.mesh, self._objective.mapped_logps)
    )

  @functools.cached_property
  def score_tokens(self) -> Any:
    """Compiled (policy params, batch) -> [B, K, T] log-probs of tokens.

    For losses that need `token_logps` or `ref_token_logps`.
    """
    return jax.jit(
      constraints.readable(self.mesh, self._objective.mapped_token_logps)
    )

  @functools.cached_property
  def evaluate(self) -> Any:
    """Compiled (params, batch, ref_params, loss_state) -> losses, metrics.

    `loss_state` may be left out for a loss that keeps no state. A fifth
    argument is the `reference` of `step`.
    """
    return jax.jit(constraints.readable(self.mesh, self._losses))

  @functools.cached_property
  def reward(self) -> Any:
    """Compiled (params, batch, ref_params) -> [B, K] reward model's scores."""

    def rewards(params: Params, batch: Batch, ref: Params | None) -> Array:
      return self._on(ref)[0].values(params, batch)

    return jax.jit(constraints.readable(self.mesh, rewards))

  def _losses(
    self,
    params: Params,
    batch: Batch,
    ref_params: Params | None,
    loss_state: Any = None,
    reference: Params | None = None,
  ) -> tuple[Array, Means]:
    objective, ref_params = self._on(ref_params, reference)
    return objective.losses(params, batch, ref_params, loss_state)

  def _on(
    self, ref_params: Params | None, reference: Params | None = None
  ) -> tuple[Objective, Params | None]:
    """The objective, and the params that stand for the reference."""
    if self._lora is None:
      first, objective = ref_params, self._objective
    else:
      first, objective = {}, self._objective.over(self._lora, ref_params)
    if self.reference is not None and reference is None:
      first = None  # weights of another model are no stand-in
    return objective, first if reference is None else reference

  def check_batch(self, batch: Batch) -> None:
    """Refuses a batch that the loss cannot be computed on.

    Raises:
      UserError: see `offalign.learner.check_batch`; or for a batch size that
        the devices and microbatches do not divide.
    """
    check_batch(self.loss, batch)
    sharding.check_batch_size(
      self.mesh, len(batch.completions), self._objective.microbatches
    )


def _cpu() -> jax.Device | None:
  """A CPU to compute small things on; None = the default device."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:  # jax was told to start without
    return None


def _balance(given: float | None, model: Model, loss: Loss) -> float:
  """The weight of the load-balancing loss; 0 where nothing is to balance."""
  if given is not None and model.routing is None:
    raise UserError(
      f"{option('router_aux_loss_coef', given)} is set, but {model.spec} has "
      "no experts to balance; leave it out"
    )
  if given is not None and loss.trains_rewards:
    raise UserError(
      f"{option('router_aux_loss_coef', given)} is set, but loss "
      f"{str(loss)!r} trains a reward model, whose experts are not balanced; "
      "leave it out"
    )
  if model.routing is None or loss.trains_rewards:
    return 0.0
  return model.routing.balance if given is None else given


def _rematted(model: Model, remat: Remat) -> Model:
  if remat == "none":
    return model
  if model.rematted is None:
    raise UserError(
      f"{option('remat', remat)} is set, but {model.spec} has no layers to "
      "recompute; leave it out"
    )
  return model.rematted(remat)
