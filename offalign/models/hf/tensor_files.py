"""Safetensors files: headers checked before they are trusted, parts read.

The format: 8 bytes, little-endian, with the length of a JSON header; the
header, {name: {dtype, shape, data_offsets}}; the tensors' bytes, without
gaps. It is read here, not by its library, for three reasons: every mistake
is to be named with its file and tensor; a part of a tensor is mapped only
while it is copied, so that reading a checkpoint does not keep all of it in
memory beside the params; and writing goes tensor by tensor.
"""

import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from offalign.errors import UserError
from offalign.models.hf.source import Index

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_MAX_RANK = 16

DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(jnp.bfloat16),
}
"""What weights may be."""

_SIZES = {
  "BOOL": 1,
  "U8": 1,
  "I8": 1,
  "F8_E4M3": 1,
  "F8_E5M2": 1,
  "U16": 2,
  "I16": 2,
  "F16": 2,
  "BF16": 2,
  "U32": 4,
  "I32": 4,
  "F32": 4,
  "U64": 8,
  "I64": 8,
  "F64": 8,
}
"""Bytes of an element, of all that a file may hold."""


@dataclasses.dataclass(frozen=True)
class Tensor:
  """Where a tensor's bytes are.

  Attributes:
    file: the file.
    name: its name there.
    dtype: as the header spells it.
    shape: its shape.
    start: of its bytes in the file.
  """

  file: Path
  name: str
  dtype: str
  shape: tuple[int, ...]
  start: int

  @property
  def nbytes(self) -> int:
    """Its size; bytes."""
    return math.prod(self.shape) * _SIZES[self.dtype]

  def part(self, index: Index) -> np.ndarray:
    """A part of it, mapped: its bytes are read when they are copied.

    Raises:
      UserError: for a dtype that weights do not have here.
    """
    if self.dtype not in DTYPES:
      raise UserError(
        f"{self.file}: tensor {self.name!r} is {self.dtype}; weights are read "
        f"from {', '.join(DTYPES)}"
      )
    if not math.prod(self.shape):
      return np.empty(self.shape, DTYPES[self.dtype])[index]
    whole = np.memmap(
      self.file, DTYPES[self.dtype], "r", offset=self.start, shape=self.shape
    )
    return np.asarray(whole[index])


def read_header(file: Path) -> dict[str, Tensor]:
  """Reads the names, shapes and places of a file's tensors.

  Nothing is allocated by what the file claims before the claim has been held
  against its size.

  Raises:
    UserError: naming the file, and the tensor if there is one, for anything
      that is not as the format wants it.
  """
  size = file.stat().st_size
  with file.open("rb") as stream:
    head = stream.read(8)
    if len(head) < 8:
      raise UserError(f"{file} is no safetensors file: it has {size} bytes")
    (length,) = struct.unpack("<Q", head)
    if length > min(MAX_HEADER, size - 8):
      raise UserError(
        f"{file} is corrupt or truncated: it claims a header of {length:,} "
        f"bytes, and has {size:,} in all (a header may have {MAX_HEADER:,})"
      )
    text = stream.read(length)
  header = _parse(file, text)
  header.pop("__metadata__", None)
  tensors = {
    name: _entry(file, name, entry, 8 + length)
    for name, entry in header.items()
  }
  _check_layout(file, list(tensors.values()), 8 + length, size)
  return tensors


def _parse(file: Path, text: bytes) -> dict[str, Any]:
  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
      if name in found:
        raise UserError(f"{file} is corrupt: its header has {name!r} twice")
      found[name] = value
    return found

  try:
    header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
  except UserError:
    raise
  except (ValueError, RecursionError) as error:
    raise UserError(
      f"{file} is corrupt: its header is not JSON ({error})"
    ) from None
  if not isinstance(header, dict):
    raise UserError(f"{file} is corrupt: its header is no JSON object")
  return header


def _entry(file: Path, name: str, entry: Any, data: int) -> Tensor:
  """One tensor of a header; `data` is where the bytes begin."""

  def corrupt(what: str) -> UserError:
    return UserError(f"{file} is corrupt: tensor {name!r} {what}")

  keys = {"dtype", "shape", "data_offsets"}
  if not isinstance(entry, dict) or set(entry) != keys:
    raise corrupt(f"has not exactly {', '.join(sorted(keys))}")
  if not isinstance(entry["dtype"], str) or entry["dtype"] not in _SIZES:
    raise corrupt(f"has the unknown dtype {str(entry['dtype'])[:40]!r}")
  shape, offsets = entry["shape"], entry["data_offsets"]
  if not _are_sizes(shape) or len(shape) > _MAX_RANK:
    raise corrupt("has no shape of whole numbers")
  if not _are_sizes(offsets) or len(offsets) != 2:
    raise corrupt("has no pair of data_offsets")
  tensor = Tensor(file, name, entry["dtype"], tuple(shape), data + offsets[0])
  if offsets[1] - offsets[0] != tensor.nbytes:
    raise corrupt(
      f"of shape {tensor.shape} in {tensor.dtype} has {tensor.nbytes:,} bytes "
      f"by its shape, and {offsets[1] - offsets[0]:,} by its data_offsets"
    )
  return tensor


def _are_sizes(values: Any) -> bool:
  return isinstance(values, list) and all(
    isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 2**63
    for x in values
  )


def _check_layout(
  file: Path, tensors: list[Tensor], data: int, size: int
) -> None:
  """Tensors must follow each other, up to the end of the file."""
  end = data
  for tensor in sorted(tensors, key=lambda t: (t.start, t.nbytes)):
    if tensor.start != end:
      raise UserError(
        f"{file} is corrupt: tensor {tensor.name!r} begins at byte "
        f"{tensor.start:,}, where the one before it ends at {end:,}"
      )
    end += tensor.nbytes
    if end > size:
      raise UserError(
        f"{file} is truncated: tensor {tensor.name!r} ends at byte {end:,}, "
        f"the file at {size:,}"
      )
  if end != size:
    raise UserError(
      f"{file} is corrupt: its tensors end at byte {end:,}, the file at "
      f"{size:,}"
    )


class Writer:
  """A file of tensors that are written in any order, in whole or by rows."""

  def __init__(
    self, file: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str
  ):
    """Writes the header.

    Args:
      file: the new file.
      tensors: name -> shape.
      dtype: of all of them, as headers spell it.
    """
    self._dtype = DTYPES[dtype]
    self._shapes = dict(tensors)
    self._starts: dict[str, int] = {}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
      self._starts[name] = end
      end += math.prod(shape) * self._dtype.itemsize
      header[name] = {
        "dtype": dtype,
        "shape": list(shape),
        "data_offsets": [self._starts[name], end],
      }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the bytes are aligned
    self._data = 8 + len(text)
    self._stream: BinaryIO = file.open("xb")
    self._stream.write(struct.pack("<Q", len(text)) + text)
    self._stream.truncate(self._data + end)

  def close(self) -> None:
    """To be called after the last `write`."""
    self._stream.close()

  def write(
    self, name: str, values: np.ndarray, rows: tuple[int, int] | None, axis: int
  ) -> None:
    """Writes a tensor, or some rows of it.

    Args:
      name: which.
      values: all of it, or `rows` of it along `axis`.
      rows: first and last + 1; None for all.
      axis: 0, or the last.
    """
    shape = self._shapes[name]
    values = np.ascontiguousarray(values, self._dtype)
    begin = self._data + self._starts[name]
    if rows is None or (axis == 0 and rows == (0, shape[0])):
      self._put(begin, values)
    elif axis == 0:
      row = math.prod(shape[1:]) * self._dtype.itemsize
      self._put(begin + rows[0] * row, values)
    else:
      line = shape[-1] * self._dtype.itemsize
      first = begin + rows[0] * self._dtype.itemsize
      for i, piece in enumerate(values.reshape(-1, values.shape[-1])):
        self._put(first + i * line, piece)

  def _put(self, at: int, values: np.ndarray) -> None:
    self._stream.seek(at)
    self._stream.write(values.view(np.uint8).data)
