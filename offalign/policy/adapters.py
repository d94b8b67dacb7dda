"""LoRA adapters in a run folder: their config, restore, merge."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh

from offalign.distributed import sharding
from offalign.models import lora
from offalign.models.base import Model
from offalign.policy.checkpoint import Checkpoints
from offalign.types import Params


def config_of(about: dict[str, Any]) -> lora.LoraConfig | None:
  """Reads the LoRA options from a run.json; None if the run had no LoRA."""
  known = about.get("config", {})
  names = [field.name for field in dataclasses.fields(lora.LoraConfig)]
  if f"lora.{names[0]}" not in known:
    return None
  return lora.LoraConfig(**{name: known[f"lora.{name}"] for name in names})


def restore(
  folder: pathlib.Path,
  model: Model,
  config: lora.LoraConfig,
  mesh: Mesh,
  step: int | None = None,
) -> Params:
  """Restores the adapters of a run's checkpoint; default: the newest."""
  key = jax.random.key(0)
  shapes = jax.eval_shape(
    functools.partial(lora.init, config),
    key,
    jax.eval_shape(model.init, key),
  )
  template = sharding.placed(
    shapes, sharding.state_shardings(mesh, shapes, model.splits)
  )
  with Checkpoints(folder) as checkpoints:
    return checkpoints.restore_policy(template, step)


def merge(config: lora.LoraConfig, base: Params, adapters: Params) -> Params:
  """Merges adapters into weights on their devices; `base` is donated."""
  merged = jax.jit(
    functools.partial(lora.merge, config),
    donate_argnums=0,
    out_shardings=jax.tree.map(lambda x: x.sharding, base),
  )
  return merged(base, adapters)
