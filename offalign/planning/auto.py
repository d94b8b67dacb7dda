"""Choose a mesh by bytes alone, without compiling: `mesh.auto`.

A step that copies its state over "data" and splits each copy over "fsdp" sends
about the same bytes from each device however many devices there are, if a copy
is split no further than it must be. So the state is split over the fewest
devices that leave most of their memory to activations.
"""

import dataclasses
from collections.abc import Callable, Iterator

from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.planning import meshes

SHARE = 0.25
"""The part of a device's memory that the state may take.

Weights, gradients, moments and frozen weights together; the rest is for
activations, which with temporaries take up to three quarters of a chip in the
plans of docs/plan.md.
"""

TENSORS = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Choice:
  """A mesh that was chosen.

  Attributes:
    mesh: its axes.
    held: bytes of the state that each device holds, gradients among it.
    limit: bytes of memory that each has.
  """

  mesh: MeshConfig
  held: int
  limit: float

  def __str__(self) -> str:
    """Says what was chosen and why."""
    size = f"{self.held / 1e9:.3g} of {self.limit / 1e9:.3g} GB a device"
    why = f"its state takes {size}"
    if self.held > SHARE * self.limit:
      why += ", which leaves little to activations: split as far as it goes"
    return f"{meshes.spell(self.mesh)} ({why})"


def choose(
  held: Callable[[MeshConfig], int],
  devices: int,
  limit: float,
  objection: Callable[[MeshConfig], str | None],
) -> Choice:
  """Chooses the mesh; the same arguments always choose the same.

  The least "tensor" with which the batch can be split, then the least "fsdp"
  with which the state takes no more than `SHARE` of the memory, or else the
  most; copies over the devices that are left.

  Args:
    held: mesh -> bytes of the state on each device.
    devices: number of devices.
    limit: bytes of memory of each.
    objection: mesh -> why it cannot be, or None.

  Raises:
    UserError: where no mesh can be, or none has room for the state.
  """
  reasons: dict[str, str] = {}
  for tensor in TENSORS:
    found: Choice | None = None
    for mesh in hierarchical(devices, tensor):
      why = objection(mesh)
      if why is not None:
        reasons.setdefault(why, meshes.spell(mesh))
        continue
      found = Choice(mesh, held(mesh), limit)
      if found.held <= SHARE * limit:
        return found
    if found is not None:
      if found.held >= limit:
        raise UserError(
          f"no mesh of {devices} device(s) has room for the state: as "
          f"{meshes.spell(found.mesh)} it takes {found.held / 1e9:.3g} of "
          f"{limit / 1e9:.3g} GB a device, without any activations; take more "
          "devices, adafactor, or LoRA"
        )
      return found
  told = "; ".join(f"{mesh}: {why}" for why, mesh in reasons.items())
  raise UserError(f"no mesh of {devices} device(s) can be ({told})")


def hierarchical(devices: int, tensor: int) -> Iterator[MeshConfig]:
  """Meshes of some devices, by how far each copy of the state is split.

  >>> [meshes.spell(mesh) for mesh in hierarchical(4, 1)]
  ['data=4', 'data=2,fsdp=2', 'fsdp=4']

  Args:
    devices: number of devices.
    tensor: the size of that axis.
  """
  if devices % tensor:
    return
  rest = devices // tensor
  for fsdp in range(1, rest + 1):
    if rest % fsdp == 0:
      yield MeshConfig(rest // fsdp, fsdp, tensor)
