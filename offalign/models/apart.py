"""Layers one by one: weights and caches that are not stacked.

In a scan over stacked layers each step copies the weights of its layer out of
the stack, on CPUs. In training that is little; in decoding, where a layer's
weights meet a few tokens, it is half of the time. So decoding may take weights
whose layers are apart, and then runs them one after the other without a scan.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax

from offalign.models.product import Turned
from offalign.types import Array, Params


@jax.tree_util.register_pytree_node_class
class Apart:
  """What was stacked along a leading axis of layers, as an array a layer.

  Attributes:
    parts: L arrays.
  """

  def __init__(self, parts: Iterable[Any]):
    """Takes one array a layer."""
    self.parts = tuple(parts)

  def __getitem__(self, which: Any) -> Any:
    """The array of a layer, or the layers of a slice."""
    found = self.parts[which]
    return Apart(found) if isinstance(which, slice) else found

  def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
    """See `jax.tree_util.register_pytree_node_class`."""
    return self.parts, None

  @classmethod
  def tree_unflatten(cls, _: None, parts: Iterable[Any]) -> "Apart":
    """See `jax.tree_util.register_pytree_node_class`."""
    return cls(parts)


def is_apart(leaf: Any) -> bool:
  """Whether a node of a tree is an `Apart`."""
  return isinstance(leaf, Apart)


def any_apart(tree: Any) -> bool:
  """Whether a tree has layers that are apart."""
  return any(map(is_apart, jax.tree.leaves(tree, is_leaf=is_apart)))


def count(tree: Any) -> int:
  """How many layers a tree has of which some leaf is `Apart`."""
  leaves = jax.tree.leaves(tree, is_leaf=is_apart)
  return next(len(leaf.parts) for leaf in leaves if is_apart(leaf))


def take(tree: Any, which: Any) -> Any:
  """Takes one layer, or a slice of them, of a tree with leaves [L, ...].

  Args:
    tree: leaves are arrays [L, ...] or `Apart`.
    which: a number, or a slice.
  """
  return jax.tree.map(lambda leaf: leaf[which], tree, is_leaf=is_apart)


def split(tree: Any) -> Any:
  """Takes the layers of all leaves [L, ...] apart."""

  def one(leaf: Array) -> Apart:
    return Apart(leaf[i] for i in range(leaf.shape[0]))

  return jax.tree.map(one, tree)


def _weights(path: Any, leaf: Array) -> Apart:
  """The layers of one leaf of weights apart."""
  # Of a map with adapters beside it, the kernel's path ends in an attribute.
  name = jax.tree_util.keystr(path[-1:], simple=True)
  if name == "kernel" and leaf.ndim == 3:
    return Apart(Turned(leaf[i].T) for i in range(leaf.shape[0]))
  return split(leaf)


def split_params(params: Params) -> Params:
  """Takes the layers of weights apart, those under "layers..." (see `Model`).

  Their kernels become `Turned`.

  Args:
    params: of a model, layers stacked.
  """
  made: dict[str, Any] = {}
  for name, value in params.items():
    if name.startswith("layers"):
      made[name] = jax.tree_util.tree_map_with_path(_weights, value)
    else:
      made[name] = split_params(value) if isinstance(value, dict) else value
  return made


def join(trees: Iterable[Any], concatenate: Callable[..., Any]) -> Any:
  """Joins trees of consecutive layers, leaf by leaf.

  Args:
    trees: leaves [n, ...] or `Apart`.
    concatenate: arrays -> one along the layers.
  """

  def both(*leaves: Any) -> Any:
    if is_apart(leaves[0]):
      return Apart(part for leaf in leaves for part in leaf.parts)
    return concatenate(leaves)

  return jax.tree.map(both, *trees, is_leaf=is_apart)
