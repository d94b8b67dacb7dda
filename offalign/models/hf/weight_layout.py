"""Layout of the params' leaves in a Hugging Face checkpoint.

A checkpoint has one tensor a layer, linear maps as [out, in], and sometimes
several maps in one tensor; the params have layers stacked, maps as [in, out],
and each map alone. A `Source` says which of these differences apply to a
leaf, so that reading and writing need no code for any one family.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Index = tuple[slice, ...]

Read = Callable[[str, Index], np.ndarray]
"""Reads a part of a tensor: (name, a slice for each axis) -> array."""

_ALL = slice(None)


@dataclasses.dataclass(frozen=True)
class Source:
  """The tensors of a checkpoint that make one leaf.

  Attributes:
    names: name of the tensor; if `stacked`, one name for each layer; if there
      are `experts`, one for each expert of each layer, a layer's together.
    stacked: whether the leaf has a leading axis of layers.
    transpose: whether the tensors are [out, in]; the leaf is [..., in, out].
    rows: (first, last + 1) of the tensor's outputs that belong to this leaf;
      None for all. Outputs lie along axis 0 of a tensor [out, in], and along
      the last axis of any other.
    experts: E, where a stacked leaf is [L, E, ...]: each expert's is a tensor
      of its own; None for any other leaf.
  """

  names: tuple[str, ...]
  stacked: bool = False
  transpose: bool = False
  rows: tuple[int, int] | None = None
  experts: int | None = None

  @property
  def axes(self) -> int:
    """Leading axes of the leaf that its tensors lack: layers, experts."""
    return int(self.stacked) + int(self.experts is not None)

  def layer(self, i: int) -> "Source":
    """The part of a stacked leaf that one layer has."""
    n = self.experts or 1
    return dataclasses.replace(
      self,
      names=self.names[i * n : (i + 1) * n],
      stacked=self.experts is not None,
      experts=None,
    )


def assemble(
  source: Source, read: Read, index: Index, dtype: Any = None
) -> np.ndarray:
  """Reads a leaf, or the part of a leaf that one shard holds.

  Args:
    source: the leaf's place in the checkpoint.
    read: reads a part of one tensor.
    index: the part of the leaf: a slice (of step 1) for each axis, as
      `jax.make_array_from_callback` gives them.
    dtype: dtype of the result; default: that of the tensors.

  Returns:
    An array in the leaf's layout. Stacked layers are read one at a time, so
    that beside the result no more than one layer is in memory.
  """
  if not source.stacked:
    part = _one(source, source.names[0], read, index)
    return part if dtype is None else part.astype(dtype, copy=False)
  n = len(source.names) // (source.experts or 1)
  layers = range(n)[index[0]]
  first = assemble(source.layer(layers[0]), read, index[1:])
  out = np.empty((len(layers), *first.shape), dtype or first.dtype)
  out[0] = first
  for i, layer in enumerate(layers[1:], start=1):
    out[i] = assemble(source.layer(layer), read, index[1:])
  return out


def disassemble(
  source: Source, leaf: Any
) -> Iterator[tuple[str, tuple[int, int] | None, np.ndarray]]:
  """Converts a leaf to a checkpoint's tensors, one at a time.

  Args:
    source: the leaf's place in the checkpoint.
    leaf: the leaf's values.

  Yields:
    The tensor's name, its rows that the leaf holds (None for all, see
    `Source`), and those rows in the tensor's layout. Several leaves may share
    a tensor.
  """
  pieces = leaf if source.stacked else [leaf]
  if source.experts is not None:
    pieces = (expert for layer in leaf for expert in layer)
  for name, piece in zip(source.names, pieces, strict=True):
    tensor = np.asarray(piece)
    yield name, source.rows, tensor.T if source.transpose else tensor


def _one(source: Source, name: str, read: Read, index: Index) -> np.ndarray:
  """Reads a part of one tensor, in the leaf's layout."""
  *others, outputs = index
  if source.rows is not None:
    outputs = _within(source.rows, outputs)
  if source.transpose:
    return np.swapaxes(read(name, (outputs, *others)), 0, 1)
  return read(name, (*others, outputs))


def _within(rows: tuple[int, int], part: slice) -> slice:
  """Shifts a slice of `rows` to a slice of all rows."""
  start = rows[0] + (part.start or 0)
  stop = rows[1] if part.stop is None else rows[0] + part.stop
  return slice(start, stop)


def whole(rank: int) -> Index:
  """Returns the index that selects a whole leaf."""
  return (_ALL,) * rank
