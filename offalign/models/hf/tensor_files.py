"""Safetensors files: check headers, read parts of tensors, stream tensors out.

Parts are read through the `safetensors` library. Three things that it does
not do are done here:

* A header is checked before the library sees the file, so that an error names
  the tensor. For the headers in `BAD` of tests/models/hf/test_tensor_files.py
  and for truncated files, the library's error names a column of the header at
  best. It accepts keys that the format does not have, tensors of more than 16
  axes, and a tensor that is described twice in the same words.
* The place of a tensor's bytes is kept; the fingerprint of a folder needs it.
* `Writer` writes one tensor, or some rows of one, at a time.

The format: 8 bytes, little-endian, with the length of a JSON header; the
header, {name: {dtype, shape, data_offsets}}; the tensors' bytes, without
gaps.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from offalign.errors import UserError
from offalign.files import repeated_key
from offalign.models.hf.weight_layout import Index

MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_MAX_RANK = 16

# The library finds bfloat16 among numpy's dtypes because jax registers it.
DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(jnp.bfloat16),
}
"""Dtypes that weights may be stored in, by their names in a header."""

_NAMES_BY_SIZE = {
  1: "BOOL U8 I8 F8_E4M3 F8_E5M2",
  2: "U16 I16 F16 BF16",
  4: "U32 I32 F32",
  8: "U64 I64 F64",
}
_SIZES = {n: size for size, ns in _NAMES_BY_SIZE.items() for n in ns.split()}
"""Bytes of one element, for every dtype that a file may hold."""


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor in a safetensors file, not yet read.

  Attributes:
    file: the file.
    name: name of the tensor in the file.
    dtype: dtype as the header spells it.
    shape: shape of the tensor.
    start: place of its first byte in the file.
  """

  file: Path
  name: str
  dtype: str
  shape: tuple[int, ...]
  start: int

  @property
  def nbytes(self) -> int:
    """Size of the tensor in bytes."""
    return math.prod(self.shape) * _SIZES[self.dtype]

  def part(self, index: Index) -> np.ndarray:
    """Reads a part of the tensor.

    The library keeps a file mapped while it is open, and with it the pages
    that were read. The file is therefore opened for each part, so that a
    checkpoint is not held in memory beside the params.

    Args:
      index: a slice (of step 1) for each axis.

    Raises:
      UserError: if weights cannot be read from this dtype, or the file
        changed after its header was read.
    """
    if self.dtype not in DTYPES:
      raise UserError(
        f"{self.file}: tensor {self.name!r} is {self.dtype}; weights are read "
        f"from {', '.join(DTYPES)}"
      )
    if 0 in self.shape:  # which the library does not slice
      return np.empty(self.shape, DTYPES[self.dtype])[index]
    try:
      with safe_open(self.file, framework="np") as opened:
        return opened.get_slice(self.name)[index]
    except SafetensorError as error:
      raise UserError(
        f"{self.file}: tensor {self.name!r} cannot be read ({error}); the file "
        "has changed since its header was read"
      ) from None


def read_header(file: Path) -> dict[str, Tensor]:
  """Reads the names, shapes and places of a file's tensors.

  Every size that the header claims is compared with the size of the file
  before anything is allocated.

  Raises:
    UserError: if the file breaks the format; names the file and, where one
      tensor is wrong, the tensor.
  """
  size = file.stat().st_size
  with file.open("rb") as stream:
    head = stream.read(8)
    if len(head) < 8:
      raise UserError(f"{file} is no safetensors file: it has {size} bytes")
    length = int.from_bytes(head, "little")
    if length > min(MAX_HEADER, size - 8):
      raise UserError(
        f"{file} is corrupt or truncated: it claims a header of {length:,} "
        f"bytes, and has {size:,} in all (a header may have {MAX_HEADER:,})"
      )
    header = _parse(file, stream.read(length))
  header.pop("__metadata__", None)
  data = 8 + length
  tensors = {
    name: _tensor(file, name, entry, data) for name, entry in header.items()
  }
  _check_layout(file, tensors.values(), data, size)
  return tensors


def _parse(file: Path, text: bytes) -> dict[str, Any]:
  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = repeated_key(pairs)
    if twice is not None:
      raise UserError(f"{file} is corrupt: its header has {twice!r} twice")
    return dict(pairs)

  try:
    header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
  except (ValueError, RecursionError) as error:
    raise UserError(
      f"{file} is corrupt: its header is not JSON ({error})"
    ) from None
  if not isinstance(header, dict):
    raise UserError(f"{file} is corrupt: its header is no JSON object")
  return header


def _tensor(file: Path, name: str, entry: Any, data: int) -> Tensor:
  """Checks one entry of a header; the tensors' bytes begin at `data`."""

  def corrupt(what: str) -> UserError:
    return UserError(f"{file} is corrupt: tensor {name!r} {what}")

  keys = {"dtype", "shape", "data_offsets"}
  if not isinstance(entry, dict) or set(entry) != keys:
    raise corrupt(f"has not exactly {', '.join(sorted(keys))}")
  dtype, shape, offsets = (entry[k] for k in ("dtype", "shape", "data_offsets"))
  if not isinstance(dtype, str) or dtype not in _SIZES:
    raise corrupt(f"has the unknown dtype {str(dtype)[:40]!r}")
  if not _are_sizes(shape) or len(shape) > _MAX_RANK:
    raise corrupt("has no shape of whole numbers")
  if not _are_sizes(offsets) or len(offsets) != 2:
    raise corrupt("has no pair of data_offsets")
  start, end = offsets
  tensor = Tensor(file, name, dtype, tuple(shape), data + start)
  if end - start != tensor.nbytes:
    raise corrupt(
      f"of shape {tensor.shape} in {dtype} has {tensor.nbytes:,} bytes by its "
      f"shape, and {end - start:,} by its data_offsets"
    )
  return tensor


def _are_sizes(values: Any) -> bool:
  return isinstance(values, list) and all(
    type(x) is int and 0 <= x < 2**63 for x in values
  )


def _check_layout(
  file: Path, tensors: Iterable[Tensor], data: int, size: int
) -> None:
  """Requires tensors without gaps or overlaps, up to the end of the file."""
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
  """Writes a safetensors file in any order, whole tensors or some rows."""

  def __init__(
    self, file: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str
  ):
    """Creates the file and writes its header.

    Args:
      file: a file that does not exist yet.
      tensors: name -> shape.
      dtype: dtype of all tensors, as headers spell it.
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
    self._stream.write(len(text).to_bytes(8, "little") + text)
    self._stream.truncate(self._data + end)

  def close(self) -> None:
    """Closes the file; call it after the last `write`."""
    self._stream.close()

  def write(
    self, name: str, values: np.ndarray, rows: tuple[int, int] | None, axis: int
  ) -> None:
    """Writes a tensor, or some rows of it.

    Args:
      name: name of the tensor.
      values: the whole tensor, or its `rows` along `axis`.
      rows: first row and last + 1; None for the whole tensor.
      axis: axis of the rows: 0, or the last one.
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
