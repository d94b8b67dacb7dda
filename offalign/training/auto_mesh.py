"""The mesh of a run: as its options say, or chosen, which run.json keeps."""

import os
from collections.abc import Mapping
from typing import Any

import jax

from offalign import models
from offalign.config import Config
from offalign.config.reference import parse
from offalign.distributed import hosts, sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError, option
from offalign.learner import LearnerConfig
from offalign.models.base import Model
from offalign.models.hf import hub
from offalign.planning import auto, from_config, meshes
from offalign.planning.state import State
from offalign.policy import origin, start
from offalign.policy.start import Parent

KEPT = "mesh"
"""The entry of run.json that has the choice."""


def choose(
  config: Config,
  learner: LearnerConfig,
  model: Model,
  known: Mapping[str, Any] | None,
  reference: Model | None = None,
) -> tuple[MeshConfig, str]:
  """Chooses the mesh of a run whose option `mesh.auto` is set.

  Args:
    config: the options of the run.
    learner: those of its learner.
    model: the model, without weights.
    known: the run.json of a run that goes on, whose choice is kept as long
      as there are as many devices.
    reference: the model of a reference that each step runs, where the run does
      not start from it.

  Returns:
    The mesh, and a sentence that says why.

  Raises:
    UserError: see `auto.choose`.
  """
  devices = jax.devices()
  kept = None if known is None else _read(known.get(KEPT))
  if kept is not None:
    same = kept.data * kept.fsdp * kept.tensor == len(devices)
    if same and _objection(kept, model, config) is None:
      return kept, f"mesh: {meshes.spell(kept)}, as this run chose before"
  try:
    choice = auto.choose(
      State(
        config.loss,
        model,
        learner,
        reference,
        moves=parse(config.reference).moves,
      ).held,
      len(devices),
      memory(),
      lambda mesh: _objection(mesh, model, config),
    )
  except UserError as error:
    raise UserError(f"{option('mesh.auto', 'true')}: {error.marked}") from None
  said = f"mesh: chose {choice}"
  if kept is not None:
    said += f", since {meshes.spell(kept)}, chosen before, no longer fits"
  return choice.mesh, said


def described(config: Config, parent: Parent | None, vocab_size: int) -> Model:
  """Builds the model that a run starts from, without its weights.

  Whether a T5's head is tied is taken from its config.json here.

  Args:
    config: the options of the run.
    parent: the run to start from.
    vocab_size: tokens of the tokenizer, for a new model.
  """
  if parent is not None:
    return start.model_of(parent.folder, parent.about)
  name = config.model or start.MODEL
  if origin.is_named(name):
    folder = str(hub.find_folder(name))
    return from_config.model_of(folder, config.model_ignore)
  return models.make(name, vocab_size=vocab_size)


def memory() -> float:
  """Bytes of memory that a device has: the least of all hosts.

  Where the devices do not say, as those of a CPU, an even share of the host's.
  """
  found = []
  local = jax.local_devices()
  for device in local:
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
      found.append(int(stats["bytes_limit"]))
  if not found:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [pages // len(local)]
  return hosts.least(min(found))


def record(mesh: MeshConfig) -> dict[str, int]:
  """A choice as run.json has it."""
  return {axis: getattr(mesh, axis) for axis in sharding.AXES}


def _read(kept: Any) -> MeshConfig | None:
  if not isinstance(kept, dict) or set(kept) != set(sharding.AXES):
    return None
  sizes = list(kept.values())
  if not all(type(n) is int and n > 0 for n in sizes):
    return None
  return MeshConfig(**kept)


def _objection(mesh: MeshConfig, model: Model, config: Config) -> str | None:
  try:
    sharding.make_mesh(mesh)
  except UserError as error:
    return str(error)
  return meshes.objection(mesh, model, config.batch_size, config.microbatches)
