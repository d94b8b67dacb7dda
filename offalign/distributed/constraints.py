"""Sharding constraints to place inside jitted functions.

On one device, and where no mesh is `ambient`, the constraints do nothing, so
models and steps are the same pure functions everywhere.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from offalign.distributed import sharding
from offalign.distributed.sharding import Split
from offalign.types import Array


def staying(
  mesh: Mesh, splits: Mapping[str, Split], step: Callable[..., Any]
) -> Callable[..., Any]:
  """Wraps a step so that the new state keeps the sharding of the old.

  Metrics are replicated, so that every process can read them.
  """

  def stays(*args: Any) -> Any:
    with ambient(mesh):
      state, metrics = step(*args)
    return place(mesh, state, splits), whole(mesh, metrics)

  return stays


def readable(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
  """Wraps a function so that its results are replicated on every device."""

  def reads(*args: Any) -> Any:
    with ambient(mesh):
      return whole(mesh, function(*args))

  return reads


def place(mesh: Mesh, tree: Any, splits: Mapping[str, Split]) -> Any:
  """Constrains traced params, gradients or state to `state_shardings`."""
  if mesh.size == 1:
    return tree
  return jax.lax.with_sharding_constraint(
    tree, sharding.state_shardings(mesh, tree, splits)
  )


def whole(mesh: Mesh, tree: Any) -> Any:
  """Replicates every traced leaf on every device."""
  if mesh.size == 1:
    return tree
  return jax.lax.with_sharding_constraint(tree, sharding.replicated(mesh))


@contextlib.contextmanager
def ambient(mesh: Mesh) -> Iterator[None]:
  """Sets the mesh that `spread` uses; enter it while a function is traced.

  The mesh is part of jax's cache key, so a function that was compiled on one
  mesh is never reused on another.
  """
  if mesh.size == 1:
    yield
    return
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    yield


def spread(x: Array) -> Array:
  """Shards activations [B, ...] by rows, and along no other axis.

  Models call it on the residual stream. Where no mesh is `ambient`, it does
  nothing.
  """
  return _kept(x, PartitionSpec(sharding.BATCH_AXES))


def whole_rows(table: Array) -> Array:
  """Gathers the rows of a table [n, d] before some are looked up.

  Looked up from a table split along d, rows would be split along d too, while
  the stream is split along B; to reshard from one to the other, XLA
  replicates the whole array on every device.
  """
  return _kept(table, PartitionSpec(PartitionSpec.UNCONSTRAINED, None))


def mesh() -> AbstractMesh | None:
  """The `ambient` mesh; None where there is none, or not one of ours."""
  found = jax.sharding.get_abstract_mesh()
  if found.empty or not set(sharding.BATCH_AXES) <= set(found.axis_names):
    return None
  return found


def _kept(x: Array, spec: PartitionSpec) -> Array:
  if mesh() is None:
    return x
  return jax.lax.with_sharding_constraint(x, spec)
