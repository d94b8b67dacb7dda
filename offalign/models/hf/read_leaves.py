"""Read leaves of the params from a checkpoint, part by part."""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from offalign.models.hf.tensor_files import Tensor
from offalign.models.hf.weight_layout import Index, Source, assemble
from offalign.types import Params

_WINDOW = 1 << 25  # bytes of a file that are read at a time
_ALIGNMENT = 64  # bytes; jax takes such arrays over without a copy


def flatten(tree: Params) -> dict[str, Any]:
  """Flattens nested dicts to {"encoder/norm/scale": leaf}."""
  return traverse_util.flatten_dict(tree, sep="/")


def axis_of_rows(source: Source) -> int:
  """Returns the axis of the outputs in a checkpoint's tensor."""
  return 0 if source.transpose else -1


def read_leaf(
  tensors: dict[str, Tensor],
  source: Source,
  shape: tuple[int, ...],
  placed: jax.sharding.Sharding,
  dtype: str,
) -> jax.Array:
  """Reads a leaf; each device's part is read alone.

  Args:
    tensors: name -> tensor of the checkpoint.
    source: the leaf's place among the tensors.
    shape: shape of the leaf.
    placed: sharding of the leaf over devices.
    dtype: dtype of the leaf.
  """
  # A device asks by slices; equal parts are read once.
  read = functools.cache(
    lambda bounds: _read_part(tensors, source, bounds, dtype)
  )

  def part(index: Index | None) -> np.ndarray:
    slices = index or (slice(None),) * len(shape)
    return read(
      tuple(s.indices(n)[:2] for s, n in zip(slices, shape, strict=True))
    )

  return jax.make_array_from_callback(shape, placed, part)


def _read_part(
  tensors: dict[str, Tensor],
  source: Source,
  bounds: tuple[tuple[int, int], ...],
  dtype: str,
) -> np.ndarray:
  """Reads a part of a leaf; `bounds` has (start, stop) for each axis."""
  shape = tuple(stop - start for start, stop in bounds)
  out = _aligned(shape, jnp.dtype(dtype))

  def read(name: str, index: Index) -> np.ndarray:
    return tensors[name].part(index)

  # The tensors' own first axis, along which their bytes are in order.
  rows = len(shape) - 1 if source.transpose else source.axes
  each = list(itertools.product(*map(range, shape[: source.axes])))
  one = out.nbytes // max(len(each), 1)
  for place in each:
    for window in windows(shape, rows, one):
      window = (*(slice(i, i + 1) for i in place), *window[source.axes :])
      there = tuple(
        slice(start + s.start, start + s.stop)
        for s, (start, _) in zip(window, bounds, strict=True)
      )
      out[window] = assemble(source, read, there)
  return out


def windows(shape: tuple[int, ...], axis: int, nbytes: int) -> Iterator[Index]:
  """Yields indices that cut an array along `axis` into a few MB each."""
  whole = [slice(0, n) for n in shape]
  n = shape[axis] if shape else 0
  step = max(n * _WINDOW // max(nbytes, 1), 1)
  for start in range(0, n, step):
    whole[axis] = slice(start, min(start + step, n))
    yield tuple(whole)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
  """Allocates an array that begins at a multiple of 64 bytes."""
  nbytes = math.prod(shape) * dtype.itemsize
  raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
  skip = -raw.ctypes.data % _ALIGNMENT
  return raw[skip : skip + nbytes].view(dtype).reshape(shape)
