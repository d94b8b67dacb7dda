"""Where a leaf of the params lies in a Hugging Face checkpoint.

A checkpoint has one tensor a layer, linear maps as [out, in], and sometimes
several maps in one tensor; the params have layers stacked, maps as [in, out],
and each map alone. A `Source` says which of these differences hold for a
leaf, as data, so that reading and writing need no code of any family.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Index = tuple[slice, ...]

Read = Callable[[str, Index], np.ndarray]
"""(tensor name, a slice for each of its axes) -> that part of the tensor."""

_ALL = slice(None)


@dataclasses.dataclass(frozen=True)
class Source:
  """The tensors that make one leaf.

  Attributes:
    names: the tensor, or if `stacked` one for each layer.
    stacked: whether the leaf has a leading axis of layers.
    transpose: whether the tensors are [out, in]; the leaf is [..., in, out].
    rows: first and last + 1 of the outputs that are this leaf's; None for
      all. Outputs lie along axis 0 of a tensor [out, in], and along the last
      axis of any other.
  """

  names: tuple[str, ...]
  stacked: bool = False
  transpose: bool = False
  rows: tuple[int, int] | None = None


def assemble(
  source: Source, read: Read, index: Index, dtype: Any = None
) -> np.ndarray:
  """Reads a leaf, or the part of it that a shard holds.

  Args:
    source: where the leaf lies.
    read: reads a part of one tensor.
    index: the part of the leaf: a slice (of step 1) for each of its axes, as
      `jax.make_array_from_callback` gives them.
    dtype: of the result; default: that of the tensors.

  Returns:
    An array in the leaf's layout. Stacked layers are read one at a time, so
    that beside the result no more than one layer is in memory.
  """
  if not source.stacked:
    part = _one(source, source.names[0], read, index)
    return part if dtype is None else part.astype(dtype, copy=False)
  names = source.names[index[0]]
  first = _one(source, names[0], read, index[1:])
  out = np.empty((len(names), *first.shape), dtype or first.dtype)
  out[0] = first
  for i, name in enumerate(names[1:], start=1):
    out[i] = _one(source, name, read, index[1:])
  return out


def disassemble(
  source: Source, leaf: Any
) -> Iterator[tuple[str, tuple[int, int] | None, np.ndarray]]:
  """The way back, one tensor at a time.

  Args:
    source: where the leaf is to lie.
    leaf: an array.

  Yields:
    The tensor's name, the rows of it, or None for all (see `Source`), and
    those rows in the tensor's layout. Several leaves may share a tensor.
  """
  pieces = leaf if source.stacked else [leaf]
  for name, piece in zip(source.names, pieces, strict=True):
    tensor = np.asarray(piece)
    yield name, source.rows, tensor.T if source.transpose else tensor


def _one(source: Source, name: str, read: Read, index: Index) -> np.ndarray:
  """A part of one tensor, in the leaf's layout."""
  *others, outputs = index
  if source.rows is not None:
    outputs = _within(source.rows, outputs)
  if source.transpose:
    return np.swapaxes(read(name, (outputs, *others)), 0, 1)
  return read(name, (*others, outputs))


def _within(rows: tuple[int, int], part: slice) -> slice:
  """A slice of some rows, as a slice of all."""
  start = rows[0] + (part.start or 0)
  stop = rows[1] if part.stop is None else rows[0] + part.stop
  return slice(start, stop)


def whole(rank: int) -> Index:
  """The index of all of a leaf."""
  return (_ALL,) * rank
