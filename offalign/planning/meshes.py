"""Meshes to plan for: parse the option, and the candidates of "auto"."""

import re

from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError, option
from offalign.models.base import Model


def parse(text: str, devices: int) -> MeshConfig:
  """Parses the option `mesh`, unless it is "auto".

  >>> parse("fsdp=4,tensor=2", 8)
  MeshConfig(data=1, fsdp=4, tensor=2)
  >>> parse("data=2,fsdp=-1", 8)
  MeshConfig(data=2, fsdp=4, tensor=1)

  Args:
    text: axes with their sizes; "fsdp" alone puts all devices along fsdp.
    devices: number of devices.

  Raises:
    UserError: for any other spelling, or a product that is not `devices`.
  """
  sizes = dict.fromkeys(sharding.AXES, 1)
  parts = ["fsdp=-1"] if text == "fsdp" else text.split(",")
  for part in parts:
    match = re.fullmatch(r"\s*(data|fsdp|tensor)=(-1|[1-9]\d*)\s*", part)
    if not match:
      raise UserError(
        f"{option('mesh', text)}: {part!r} is no axis with its size; write "
        "e.g. data=2,fsdp=8, or fsdp, or auto"
      )
    sizes[match[1]] = int(match[2])
  rest = [axis for axis, n in sizes.items() if n == -1]
  known = 1
  for n in sizes.values():
    known *= max(n, 1)
  if len(rest) == 1 and devices % known == 0:
    sizes[rest[0]] = devices // known
    known = devices
  if len(rest) > 1 or known != devices:
    raise UserError(
      f"{option('mesh', text)} does not fit {devices} devices: make the "
      f"product {devices}, or one of the sizes -1"
    )
  return MeshConfig(sizes["data"], sizes["fsdp"], sizes["tensor"])


def candidates(devices: int) -> list[MeshConfig]:
  """The meshes that `mesh="auto"` tries.

  One copy of the state over all devices; two copies; copies over 16 devices
  each, since small slices of a weight are expensive to gather; a copy on each
  device; and, for small batches and large layers, tensor=2, 4 and 8 with one
  copy of the state over the other axis.
  """
  found = [MeshConfig(1, devices, 1), MeshConfig(devices, 1, 1)]
  if devices % 2 == 0:
    found.append(MeshConfig(2, devices // 2, 1))
  if devices % 16 == 0:
    found.append(MeshConfig(devices // 16, 16, 1))
  for tensor in (2, 4, 8):
    if devices % tensor == 0:
      found.append(MeshConfig(1, devices // tensor, tensor))
  return list(dict.fromkeys(found))


def spell(mesh: MeshConfig) -> str:
  """Formats a mesh as the option `mesh` takes it."""
  axes = [f"{a}={getattr(mesh, a)}" for a in sharding.AXES]
  return ",".join(axis for axis in axes if not axis.endswith("=1")) or "data=1"


def objection(
  mesh: MeshConfig, model: Model, batch: int, microbatches: int
) -> str | None:
  """Why "auto" leaves a mesh out, before anything is compiled."""
  rows = mesh.data * mesh.fsdp * microbatches
  if batch % rows:
    return f"a batch of {batch} is no multiple of {rows}"
  heads = [s for s in model.splits.values() if s.of == "heads"]
  if any(split.parts % mesh.tensor for split in heads):
    return f"tensor={mesh.tensor} does not divide the heads"
  return None
