"""Write params as the safetensors files of a checkpoint."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from offalign.errors import UserError
from offalign.models.hf.folder import INDEX, SINGLE
from offalign.models.hf.read_leaves import axis_of_rows, flatten
from offalign.models.hf.tensor_files import DTYPES, Writer
from offalign.models.hf.weight_layout import Source, disassemble
from offalign.types import Params

MAX_SHARD_SIZE = 4_000_000_000  # bytes of tensors in a file


def write_tensors(
  folder: Path,
  params: Params,
  sources: dict[str, Source],
  shapes: Mapping[str, tuple[int, ...]],
  dtype: str,
  max_shard_size: int,
) -> None:
  """Writes the safetensors of a checkpoint.

  Leaves come to the host one at a time.

  Args:
    folder: an existing folder.
    params: the params, on devices of this process.
    sources: path of a leaf -> its `Source`.
    shapes: name of a tensor -> its shape.
    dtype: dtype of all tensors, as headers spell it.
    max_shard_size: size in bytes above which there is more than one file; a
      tensor is never cut.

  Raises:
    UserError: if leaves are on devices of other processes.
  """
  if max_shard_size < 1:
    raise UserError(f"max_shard_size must be at least 1, not {max_shard_size}")
  groups = _groups(shapes, DTYPES[dtype].itemsize, max_shard_size)
  where: dict[str, str] = {}
  writers: dict[str, Writer] = {}
  for i, names in enumerate(groups, start=1):
    file = SINGLE
    if len(groups) > 1:
      file = f"model-{i:05}-of-{len(groups):05}.safetensors"
    where |= dict.fromkeys(names, file)
    contents = {name: shapes[name] for name in names}
    writers[file] = Writer(folder / file, contents, dtype)
  try:
    for path, leaf in flatten(params).items():
      if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise UserError(
          "weights that are spread over several processes cannot be written "
          "by one of them: export from the run's checkpoint instead"
        )
      axis = axis_of_rows(sources[path])
      for name, rows, tensor in disassemble(sources[path], np.asarray(leaf)):
        writers[where[name]].write(name, tensor, rows, axis)
  finally:
    for writer in writers.values():
      writer.close()
  if len(groups) > 1:
    total = sum(math.prod(s) for s in shapes.values()) * DTYPES[dtype].itemsize
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")


def _groups(
  shapes: Mapping[str, tuple[int, ...]], itemsize: int, limit: int
) -> list[list[str]]:
  """Groups tensors by file, in order, as many to a file as fit."""
  groups: list[list[str]] = [[]]
  size = 0
  for name, shape in shapes.items():
    nbytes = math.prod(shape) * itemsize
    if groups[-1] and size + nbytes > limit:
      groups.append([])
      size = 0
    groups[-1].append(name)
    size += nbytes
  return groups
