"""The device mesh, and the sharding of state and batches over it.

The mesh has three axes:

* "data": each device holds a copy of the state and has rows of its own.
* "fsdp": the devices split one copy of the state, and each has rows of its
  own.
* "tensor": the devices share the work on the same rows; each has some of the
  heads, of the MLP and of the vocabulary.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)

from offalign import spec
from offalign.errors import UserError, option
from offalign.types import Batch

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
SMALL = 4096  # elements; smaller leaves are not split over "fsdp"


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How the devices are arranged.

  Attributes:
    data: devices that hold copies of the state; -1 = all that are left.
    fsdp: devices that share each copy of the state between them.
    tensor: devices that share the heads, the MLP and the vocabulary, and so
      the work on each row.
    auto: choose the other three by the size of the state, the memory of a
      device and the batch; the choice is kept in run.json.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1
  auto: bool = False

  def __post_init__(self) -> None:
    """Checks the types of the fields.

    Raises:
      UserError: naming the field, or a size beside `auto`.
    """
    spec.check_fields("mesh", self)
    for axis, usual in zip(AXES, (-1, 1, 1), strict=True):
      size = getattr(self, axis)
      if self.auto and size != usual:
        raise UserError(
          f"{option(f'mesh.{axis}', size)} is set beside "
          f"{option('mesh.auto', 'true')}, which chooses it; leave one out"
        )


@dataclasses.dataclass(frozen=True)
class Split:
  """How one leaf is split over "tensor".

  Attributes:
    axis: the axis to split, counted from the end (-1 = the last), so that it
      is the same for stacked layers.
    size: length of that axis.
    parts: number of parts, such as heads, that may not be cut; the number of
      devices has to divide it.
    of: what the parts are, in words.
  """

  axis: int
  size: int
  parts: int
  of: str


def make_mesh(
  config: MeshConfig | None = None, devices: list[Any] | None = None
) -> Mesh:
  """Makes a mesh over devices; one device makes the trivial mesh.

  Args:
    config: how the devices are arranged; default: each holds a copy of the
      state.
    devices: the devices; default: all devices of every process.

  Raises:
    UserError: where the axes do not multiply to the number of devices.
  """
  config = config or MeshConfig()
  if config.auto:
    raise ValueError("a mesh that is still to be chosen")
  devices = jax.devices() if devices is None else devices
  n, inner = len(devices), config.fsdp * config.tensor
  data = n // max(inner, 1) if config.data == -1 else config.data
  if min(config.fsdp, config.tensor, data) < 1 or data * inner != n:
    raise UserError(
      f"a mesh of data={config.data} x fsdp={config.fsdp} x "
      f"tensor={config.tensor} does not fit {n} device(s): make the product "
      f"{n}, or leave data at -1"
    )
  try:
    # Axis types are explicit by default, which the embedding gather rejects.
    return jax.make_mesh(
      (data, config.fsdp, config.tensor),
      AXES,
      axis_types=(AxisType.Auto,) * 3,
      devices=devices,
    )
  except NotImplementedError:
    raise UserError(
      f"a mesh of data={data} x fsdp={config.fsdp} x tensor={config.tensor} "
      "does not follow the links of these devices: make its axes products of "
      "the sides of their grid"
    ) from None


def describe(mesh: Mesh) -> str:
  """Describes a mesh in a few words."""
  axes = " x ".join(f"{k}={n}" for k, n in mesh.shape.items() if n > 1)
  text = f"{mesh.size} device(s)" + (f" as {axes}" if axes else "")
  n = len({device.process_index for device in mesh.devices.flat})
  return text + (f" of {n} processes" if n > 1 else "")


def one_device() -> Mesh:
  """The trivial mesh of one device, the first of this process."""
  return make_mesh(devices=jax.local_devices()[:1])


def state_shardings(
  mesh: Mesh | AbstractMesh,
  tree: Any,
  splits: Mapping[str, Split] | None = None,
) -> Any:
  """The sharding of each leaf of params, gradients or optimiser state.

  Tensor parallelism comes first: a leaf whose path ends in an entry of the
  model's table `splits` is split over "tensor" along the axis named there.
  Then FSDP, which knows nothing of the model: each large leaf is split over
  "fsdp" along its largest axis that is still free and that the devices
  divide, but never between the layers of a stack, which are used one after
  the other. A leaf without such an axis is replicated.

  An optimiser's state has the paths of the params it belongs to, so the same
  table serves it. In a leaf of another shape (a factored moment) the axis is
  recognised by the size that the table gives for it.

  Args:
    mesh: from `make_mesh`; or an abstract one, where shapes are enough.
    tree: arrays or `ShapeDtypeStruct`s.
    splits: the model's table, `Model.splits`; default: empty.

  Returns:
    The same tree of `NamedSharding`s.
  """
  splits = splits or {}

  def rule(path: Any, leaf: Any) -> NamedSharding:
    keys, shape = _keys(path), leaf.shape
    axes: list[str | None] = [None] * len(shape)
    split = _find(keys, splits)
    if split is not None and mesh.shape["tensor"] > 1:
      i = len(shape) + split.axis
      divides = split.parts % mesh.shape["tensor"] == 0
      if i >= 0 and shape[i] == split.size and divides:
        axes[i] = "tensor"
    n, first = mesh.shape["fsdp"], int(_is_stacked(keys))
    fits = [
      i
      for i in range(first, len(shape))
      if axes[i] is None and shape[i] % n == 0
    ]
    if n > 1 and fits and math.prod(shape) >= SMALL:
      axes[max(fits, key=lambda i: shape[i])] = "fsdp"
    # As compiled functions spell it; another spelling would compile again.
    while axes and axes[-1] is None:
      axes.pop()
    return NamedSharding(mesh, PartitionSpec(*axes))

  return jax.tree_util.tree_map_with_path(rule, tree)


def placed(shapes: Any, shardings: Any) -> Any:
  """Says where arrays that are still to be read will lie.

  Args:
    shapes: a tree of arrays or of their shapes and dtypes.
    shardings: the same tree, of shardings.

  Returns:
    A tree of `jax.ShapeDtypeStruct`.
  """
  return jax.tree.map(
    lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
    shapes,
    shardings,
  )


def unsplit(mesh: Mesh, splits: Mapping[str, Split]) -> list[str]:
  """Lists the parts that cannot be split over "tensor" on this mesh.

  Returns:
    One sentence for each number of parts that the devices do not divide.
  """
  n = mesh.shape["tensor"]
  left: dict[int, list[str]] = {}
  for name, split in splits.items():
    if split.parts % n:
      left.setdefault(split.parts, []).append(name)
  return [
    f"tensor={n} does not divide {parts:,} {splits[names[0]].of}: "
    f"{', '.join(names)} are whole on each of the {n} devices"
    for parts, names in left.items()
  ]


def _find(keys: list[str], splits: Mapping[str, Split]) -> Split | None:
  """Finds the entry with the longest name that a path ends in."""
  for i in range(len(keys)):
    found = splits.get("/".join(keys[i:]))
    if found is not None:
      return found
  return None


def _is_stacked(keys: list[str]) -> bool:
  return any(key.startswith("layers") for key in keys)


def _keys(path: Any) -> list[str]:
  """The keys of a leaf; some optimiser states hold joined ones."""
  return jax.tree_util.keystr(path, simple=True, separator="/").split("/")


def replicated(mesh: Mesh) -> NamedSharding:
  """The sharding of a leaf that every device holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """The rows of a global batch that this process's devices hold, int [b].

  Processes whose devices differ by "tensor" alone hold the same rows.
  """
  by_rows = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
  held = by_rows.addressable_devices_indices_map((batch_size,)).values()
  rows = [np.arange(batch_size)[index] for index in held]
  return np.unique(np.concatenate(rows))


def put_batch(mesh: Mesh, batch: Batch) -> Batch:
  """Places a host batch on the mesh, prompts split over data and fsdp.

  Args:
    mesh: from `make_mesh`.
    batch: numpy arrays of the rows that `local_rows` names; with one process,
      all rows.
  """
  by_rows = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(by_rows, np.asarray(x)),
    batch,
  )


def batch_pieces(mesh: Mesh | AbstractMesh) -> int:
  """Number of pieces that `BATCH_AXES` cut the rows of a batch into."""
  return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_batch_size(mesh: Mesh, batch_size: int, microbatches: int) -> None:
  """Raises UserError where a batch cannot be split evenly."""
  pieces = batch_pieces(mesh)
  rows = pieces * microbatches
  if batch_size < 1 or microbatches < 1 or batch_size % rows:
    raise UserError(
      f"a batch of {batch_size} prompts cannot be split over {pieces} "
      f"device(s) and {microbatches} microbatch(es): make it a multiple of "
      f"{rows}"
    )
