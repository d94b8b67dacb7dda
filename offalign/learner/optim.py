"""Optimisers: named presets, one for the policy and one for the value."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from offalign import spec
from offalign.errors import UserError, option
from offalign.types import Array, Params


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """The optimiser and its numbers.

  Attributes:
    name: "adam", or "adafactor" with the DRO paper's decay of 0.8
      (arXiv:2405.19107, section 4).
    learning_rate: learning rate of the policy, and of the value function
      unless value_learning_rate is given; default: by what is trained, new
      weights (3e-4), those of a run or a checkpoint (1e-5), LoRA's on them
      (1e-4), see the docs on training.
    value_learning_rate: learning rate of the value function; default:
      `learning_rate` where that is given, else that of new weights.
    warmup_steps: linear warm-up; None = 150 for adafactor (the paper's), 20
      for adam.
    schedule: after the warm-up, "constant", or "cosine" to 0 at the last
      step.
    clip_norm: largest global norm of the gradient, for policy and value
      separately; 0 = no clipping.
    weight_decay: decoupled weight decay of matrices (no norms, no biases);
      adam only.
  """

  name: Literal["adam", "adafactor"] = "adam"
  learning_rate: float | None = None
  value_learning_rate: float | None = None
  warmup_steps: int | None = None
  schedule: Literal["constant", "cosine"] = "constant"
  clip_norm: float = 1.0
  weight_decay: float = 0.0

  def __post_init__(self) -> None:
    spec.check_fields("optimizer", self)
    for name in ("warmup_steps", "clip_norm", "weight_decay"):
      if (getattr(self, name) or 0) < 0:
        raise UserError(
          f"{option(f'optimizer.{name}')} must be 0 or above, not "
          f"{getattr(self, name)}"
        )


NEW = 3e-4
"""The learning rate of new weights, where no other is given."""

WARMUP = {"adam": 20, "adafactor": 150}


def schedule(
  config: OptimizerConfig, peak: float, steps: int
) -> optax.Schedule:
  """The learning rate by step; the first update is peak / warm-up, not 0."""
  warmup = config.warmup_steps
  warmup = WARMUP[config.name] if warmup is None else warmup
  rise = optax.constant_schedule(peak)
  if warmup > 1:
    rise = optax.linear_schedule(peak / warmup, peak, warmup - 1)
  if config.schedule == "constant":
    return rise
  fall = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
  return optax.join_schedules([rise, fall], [warmup])


def peak(config: OptimizerConfig) -> float:
  """The policy's highest learning rate; that of new weights if not given."""
  return NEW if config.learning_rate is None else config.learning_rate


def make(
  config: OptimizerConfig, *, value: bool, steps: int
) -> dict[str, optax.GradientTransformation]:
  """Makes an optimiser for each top-level entry of the params.

  Args:
    config: the preset and its numbers.
    value: whether there is a value function.
    steps: updates in the whole run, at which a cosine schedule ends.

  Returns:
    {"policy": ...} and, with a value, "value".

  Raises:
    UserError: for an option that would have no effect, or a negative rate.
  """
  if config.value_learning_rate is not None and not value:
    raise UserError(
      f"{option('optimizer.value_learning_rate')} is set but the loss has no "
      "value function; leave it out, or choose a loss that needs values"
    )
  if config.weight_decay and config.name != "adam":
    raise UserError(
      f"{option('optimizer.weight_decay')} has no effect with adafactor; leave "
      "it out, or use adam"
    )
  own = config.value_learning_rate
  rates = {"policy": peak(config)}
  if value:
    rates["value"] = rates["policy"] if own is None else own
  for name, rate in rates.items():
    if rate < 0:
      own_name = "value_learning_rate" if name == "value" else "learning_rate"
      raise UserError(
        f"{option(f'optimizer.{own_name}')} must be >= 0, not {rate}"
      )
  return {
    name: _one(config, schedule(config, rate, steps))
    for name, rate in rates.items()
  }


def _one(
  config: OptimizerConfig, rate: optax.Schedule
) -> optax.GradientTransformation:
  if config.name == "adam":
    tx = optax.adamw(rate, weight_decay=config.weight_decay, mask=_is_matrix)
  else:
    tx = per_layer(
      optax.adafactor(rate, decay_rate=0.8, multiply_by_parameter_scale=False)
    )
  if not config.clip_norm:
    return tx
  return optax.chain(clip(config.clip_norm), tx)


def clip(largest: float) -> optax.GradientTransformation:
  """Scales gradients so that their global norm is at most `largest`.

  As `optax.clip_by_global_norm`, whose division of every leaf by the norm XLA
  does not repeat wherever its result is read: the clipped gradients are then
  held beside the gradients, all of them at once. A product is repeated.

  Args:
    largest: above 0.
  """

  def scaled(updates: Params, params: Params | None = None) -> Params:
    del params
    norm = optax.tree.norm(updates)
    factor = jnp.where(norm < largest, 1.0, largest / norm)
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates)

  return optax.stateless(scaled)


def update(
  transforms: dict[str, optax.GradientTransformation],
  grads: Params,
  opt_state: Any,
  params: Params,
) -> tuple[Params, Any]:
  """Applies each transform to its own entry of the params."""
  new_params, new_state = {}, {}
  for name, tx in transforms.items():
    updates, new_state[name] = tx.update(
      grads[name], opt_state[name], params[name]
    )
    new_params[name] = optax.apply_updates(params[name], updates)
  return new_params, new_state


def per_layer(
  tx: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Runs `tx` on each layer of a stacked subtree as if it stood alone.

  Adafactor's factored moments, clipping and scaling are per tensor; stacked
  [L, ...] leaves would share them across layers and train differently from
  the same network with its layers apart.
  """

  def init(params: Params) -> dict[str, Any]:
    return {
      name: jax.vmap(tx.init)(leaves) if name else tx.init(leaves)
      for name, leaves in _by_stack(params).items()
    }

  def update_fn(
    updates: Params, state: dict[str, Any], params: Params | None = None
  ) -> tuple[Params, dict[str, Any]]:
    assert params is not None
    own = _by_stack(params)
    new: dict[tuple[str, ...], Array] = {}
    new_state = {}
    for name, leaves in _by_stack(updates).items():
      fn = jax.vmap(tx.update) if name else tx.update
      out, new_state[name] = fn(leaves, state[name], own[name])
      new.update({tuple(path.split("/")): leaf for path, leaf in out.items()})
    return traverse_util.unflatten_dict(new), new_state

  return optax.GradientTransformation(init, update_fn)


def _is_matrix(params: Params) -> Params:
  """True on leaves with weight decay: matrices, not norms or biases."""
  flat = traverse_util.flatten_dict(params)
  return traverse_util.unflatten_dict(
    {
      path: leaf.ndim - any(str(k).startswith("layers") for k in path) >= 2
      for path, leaf in flat.items()
    }
  )


def _by_stack(params: Params) -> dict[str, dict[str, Array]]:
  """Groups leaves by the stack of layers they belong to; "" = no stack."""
  groups: dict[str, dict[str, Array]] = {}
  for path, leaf in traverse_util.flatten_dict(params).items():
    depth = next(
      (i for i, key in enumerate(path) if str(key).startswith("layers")), None
    )
    stack = "" if depth is None else "/".join(path[: depth + 1])
    groups.setdefault(stack, {})["/".join(path)] = leaf
  return groups


def check_warmup(config: OptimizerConfig, steps: int) -> None:
  """Refuses a default warm-up that is no shorter than the run.

  Raises:
    UserError: naming the option.
  """
  default = WARMUP[config.name]
  if config.name != "adafactor" or config.warmup_steps is not None:
    return
  if default >= steps:
    raise UserError(
      f"{option('optimizer.warmup_steps')} is {default} with adafactor where "
      f"it is not given, no fewer than {option('steps', steps)}, so the "
      "learning rate would rise all through the run: give "
      f"{option('optimizer.warmup_steps')}"
    )
