"""What a compiled function is told about where its arrays lie.

On one device, and where no mesh is `ambient`, all of it does nothing, so that
models and steps are the same pure functions everywhere.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from offalign.distributed import sharding
from offalign.distributed.sharding import Split
from offalign.types import Array


def staying(
  mesh: Mesh, splits: Mapping[str, Split], step: Callable[..., Any]
) -> Callable[..., Any]:
  """A step that leaves the state where it was, and metrics everywhere."""

  def stays(*args: Any) -> Any:
    with ambient(mesh):
      state, metrics = step(*args)
    return place(mesh, state, splits), whole(mesh, metrics)

  return stays


def readable(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
  """A function whose results every process can read."""

  def reads(*args: Any) -> Any:
    with ambient(mesh):
      return whole(mesh, function(*args))

  return reads


def place(mesh: Mesh, tree: Any, splits: Mapping[str, Split]) -> Any:
  """Keeps traced params, gradients or state where `state_shardings` says."""
  if mesh.size == 1:
    return tree
  return jax.lax.with_sharding_constraint(
    tree, sharding.state_shardings(mesh, tree, splits)
  )


def whole(mesh: Mesh, tree: Any) -> Any:
  """Puts every traced leaf on every device, where any process reads it."""
  if mesh.size == 1:
    return tree
  return jax.lax.with_sharding_constraint(tree, sharding.replicated(mesh))


@contextlib.contextmanager
def ambient(mesh: Mesh) -> Iterator[None]:
  """Makes `spread` work; to be entered where a function is traced.

  jax knows of it, so that what was compiled on one mesh is never taken for
  another.
  """
  if mesh.size == 1:
    yield
    return
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    yield


def spread(x: Array) -> Array:
  """Keeps activations [B, ...] split by rows, and by nothing else.

  Models call it on the residual stream. Where no mesh is `ambient`, it does
  nothing.
  """
  return _kept(x, PartitionSpec(sharding.BATCH_AXES))


def whole_rows(table: Array) -> Array:
  """Puts rows [n, d] together again before some are looked up.

  A row whose d is split would come out split by d for a stream that is split
  by B; XLA goes from one to the other by way of every device having all.
  """
  return _kept(table, PartitionSpec(PartitionSpec.UNCONSTRAINED, None))


def _kept(x: Array, spec: PartitionSpec) -> Array:
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or not set(sharding.BATCH_AXES) <= set(mesh.axis_names):
    return x
  return jax.lax.with_sharding_constraint(x, spec)
