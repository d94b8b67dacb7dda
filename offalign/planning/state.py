"""The state of a train step on any mesh: bytes, counted without devices."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.learner import LearnerConfig
from offalign.models.base import Model
from offalign.planning.program import (
  beside_start,
  bytes_per_device,
  learner_of,
  weights,
)


class State:
  """The weights, moments and gradients of a step, as shapes."""

  def __init__(
    self,
    loss: str,
    model: Model,
    config: LearnerConfig,
    reference: Model | None = None,
    *,
    moves: bool = False,
  ):
    """Makes the shapes.

    Args:
      loss: a loss by spec.
      model: the model to train.
      config: how it is trained.
      reference: see `program.build`.
      moves: see `program.Step`.
    """
    learner = learner_of(loss, model, config, sharding.one_device(), reference)
    policy = weights(model, config)
    self._splits, self._width = model.splits, model.width
    self._layers = _layers(policy)
    self._state = jax.eval_shape(learner.fresh, policy)
    self._frozen = policy if learner.has_frozen_weights else {}
    self._beside = beside_start(learner, config, policy, moves)
    moved = self._beside is not None and config.lora is None
    self._gathered = {} if moved else self._frozen  # by a step
    self._itemsize = jnp.dtype(config.compute_dtype or "float32").itemsize

  def kept(self, mesh: MeshConfig) -> int:
    """Bytes on a device between steps: weights, frozen ones, and moments."""
    state = self._state
    trees = (state.params, state.opt_state, self._frozen)
    kept = sum(bytes_per_device(self._on(tree, mesh)) for tree in trees)
    return kept + bytes_per_device(self._reference(mesh))

  def held(self, mesh: MeshConfig) -> int:
    """Bytes on a device in a step: those of `kept`, and all gradients."""
    params = self._on(self._state.params, mesh)
    return self.kept(mesh) + bytes_per_device(params)

  def sent(
    self, mesh: MeshConfig, tokens: int = 0, microbatches: int = 1
  ) -> float:
    """Bytes that a device sends in a step, by a model.

    Weights are gathered in the forward and in the backward pass of each
    microbatch, in the compute dtype; gradients are reduced and scattered over
    "fsdp", and what is left of them is summed over the copies. Over "tensor",
    the stream is summed four times a layer. A compiler may find something
    better.

    Args:
      mesh: the axes.
      tokens: of the whole batch, B (P + K T).
      microbatches: pieces that the batch is cut into.
    """
    trained = self._over(
      self._on(self._state.params, mesh), mesh, gradients=True
    )
    frozen = self._over(self._on(self._gathered, mesh), mesh, gradients=False)
    frozen += self._over(self._reference(mesh), mesh, gradients=False)
    stream = tokens * self._width * self._itemsize / (mesh.data * mesh.fsdp)
    summed = 2 * (mesh.tensor - 1) / mesh.tensor
    shared = 4 * self._layers * stream * summed
    return microbatches * (trained + frozen) + shared

  def _over(self, tree: Any, mesh: MeshConfig, *, gradients: bool) -> float:
    total = 0.0
    for leaf in jax.tree.leaves(tree):
      axes = leaf.sharding.spec
      shared = mesh.fsdp if "fsdp" in axes else 1
      size = math.prod(leaf.shape) * self._itemsize
      size /= mesh.tensor if "tensor" in axes else 1
      scattered = size * (shared - 1) / shared
      total += 2 * scattered
      if gradients:
        copies = mesh.data * mesh.fsdp // shared
        total += scattered + 2 * size / shared * (copies - 1) / copies
    return total

  def _reference(self, mesh: MeshConfig) -> Any:
    """What a step runs beside the weights that the run starts from."""
    if self._beside is None:
      return {}
    shapes, splits = self._beside
    return self._on(shapes, mesh, splits)

  def _on(self, tree: Any, mesh: MeshConfig, splits: Any = None) -> Any:
    sizes = (mesh.data, mesh.fsdp, mesh.tensor)
    abstract = AbstractMesh(sizes, sharding.AXES)
    places = sharding.state_shardings(
      abstract, tree, self._splits if splits is None else splits
    )
    return sharding.placed(tree, places)


def _layers(params: Any) -> int:
  """Layers of all stacks together, which are the first axis of their leaves."""
  stacks: dict[str, int] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    keys = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
    for i, key in enumerate(keys):
      if key.startswith("layers"):
        stacks["/".join(keys[: i + 1])] = leaf.shape[0]
  return sum(stacks.values())
