"""Reward models in run folders: which runs trained one, and its weights.

A run whose loss trains rewards leaves a trunk and a head that maps a state to
a reward. With a separate value network the trunk is that network, and the
policy is what the run began with; with a shared one the trunk is the policy's.
"""

import functools
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from offalign import losses
from offalign.distributed import sharding
from offalign.errors import UserError, option
from offalign.learner import TrainState
from offalign.learner import value as value_lib
from offalign.learner.value import ValueConfig
from offalign.losses import Loss
from offalign.models import lora
from offalign.models.base import Model
from offalign.policy import adapters, recorded_code
from offalign.policy.checkpoint import Checkpoints
from offalign.types import Params

POLICY, REWARDS = "policy", "rewards"
"""What the key "trains" of a run.json says."""


def what(loss: Loss) -> str:
  """What a loss trains: `POLICY` or `REWARDS`."""
  return REWARDS if loss.trains_rewards else POLICY


def is_reward_model(folder: pathlib.Path, about: dict[str, Any]) -> bool:
  """Whether a run trained a reward model in place of a policy.

  A run.json of an earlier version does not say so: then its loss is asked,
  where it is known here.

  Args:
    folder: the run folder.
    about: its run.json.
  """
  if about.get("trains") in (POLICY, REWARDS):
    return bool(about["trains"] == REWARDS)
  if "loss" not in about:
    return False
  try:
    recorded_code.check_loss(folder, about)
    return losses.get(about["loss"]).trains_rewards
  except UserError:
    return False


def refuse_as_policy(
  folder: pathlib.Path, about: dict[str, Any], what_for: str
) -> None:
  """Refuses to use a reward model as a policy.

  Args:
    folder: the run folder.
    about: its run.json.
    what_for: what a policy would do, such as "complete a prompt".

  Raises:
    UserError: where the run trained a reward model.
  """
  if is_reward_model(folder, about):
    raise UserError(
      f"{folder} trained a reward model ({about['loss']}) and no policy that "
      f"could {what_for}: name a run that trained a policy, and score its "
      f"completions with the judge reward_model(run={str(folder)!r})"
    )


def value_of(about: dict[str, Any]) -> ValueConfig:
  """The value options of a reward model's run.json, or the default."""
  config = about["config"]
  if "value.network" not in config:
    return ValueConfig(per="completion")
  return ValueConfig(network=config["value.network"], per=config["value.per"])


def restore(
  folder: pathlib.Path,
  about: dict[str, Any],
  model: Model,
  mesh: Mesh,
  step: int | None = None,
  base: Params | None = None,
) -> tuple[Params, Params]:
  """Restores the reward model of a run's checkpoint.

  Args:
    folder: the run folder.
    about: its run.json.
    model: the model of the run.
    mesh: the mesh to place the params on.
    step: the step of the checkpoint; default: the newest.
    base: the frozen weights to merge LoRA's adapters into, which are donated;
      None = leave the adapters alone.

  Returns:
    The trunk, in the layout of the model's params or of its adapters, and the
    head, {"kernel": [d], "bias": []}.
  """
  config, value = adapters.config_of(about), value_of(about)
  key = jax.random.key(0)
  policy = jax.eval_shape(model.init, key)
  if config is not None:
    policy = jax.eval_shape(functools.partial(lora.init, config), key, policy)
  init = functools.partial(value_lib.init, value, model)
  shapes = {"value": jax.eval_shape(init, policy)}
  if value.network == "shared":
    shapes["policy"] = policy
  template = sharding.placed(
    shapes, sharding.state_shardings(mesh, shapes, model.splits)
  )
  with Checkpoints(folder) as checkpoints:
    read = checkpoints.restore_params(template, step)
  shared = value.network == "shared"
  trunk = read["policy"] if shared else read["value"]["trunk"]
  if config is not None and base is not None:
    trunk = adapters.merge(config, base, trunk)
  return trunk, read["value"]["head"]


def check_continued(
  folder: pathlib.Path,
  about: dict[str, Any],
  loss: Loss,
  value: ValueConfig | None,
) -> None:
  """Checks that a run can continue the reward model that it starts from.

  Args:
    folder: the folder of the run to start from.
    about: its run.json.
    loss: the loss of the new run.
    value: the value options of the new run.

  Raises:
    UserError: where the head would be read at another place than before.
  """
  if not (loss.trains_rewards and is_reward_model(folder, about)):
    return
  before, now = value_of(about).per, value_lib.choose(value, loss).per
  if before != now:
    raise UserError(
      f"{option('init', folder)} is a reward model with "
      f"{option('value.per', before)}, whose head goes on in this run, where "
      f"{option('value.per')} is {now!r}: give {option('value.per', before)}"
    )


def continued(
  folder: pathlib.Path,
  about: dict[str, Any],
  model: Model,
  mesh: Mesh,
  step: int,
  state: TrainState,
) -> TrainState:
  """The first state of a run, with the head of the run that it starts from.

  Args:
    folder: the folder of the run to start from, a reward model.
    about: its run.json.
    model: the model of both.
    mesh: the devices.
    step: of its checkpoint.
    state: the first state, whose head is zero.
  """
  _, head = restore(folder, about, model, mesh, step)
  value = state.params["value"]
  placed = jax.tree.map(
    lambda new, old: jax.device_put(new, old.sharding), head, value["head"]
  )
  params = {**state.params, "value": {**value, "head": placed}}
  made: TrainState = state.replace(params=params)  # type: ignore[attr-defined]
  return made


def said(folder: pathlib.Path, loss: Loss) -> str:
  """What starting from a reward model means, in a sentence.

  Args:
    folder: the folder of the run to start from.
    loss: the loss of the new run.
  """
  if loss.trains_rewards:
    return f"the reward model of {folder} goes on, its head too"
  return (
    f"note: {folder} trained a reward model: the policy starts from its "
    "trunk, under a head for tokens that was not trained with it; to start "
    f"from a language model, name one ({option('model')}) or the run of a "
    "policy"
  )
