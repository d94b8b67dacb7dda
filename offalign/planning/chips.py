"""TPU chips: their published rates, and topologies to compile for."""

import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

from jax.errors import JaxRuntimeError
from jax.experimental import topologies

from offalign.errors import UserError, option, suggest


@dataclasses.dataclass(frozen=True)
class Chip:
  """A TPU chip with the rates that its maker publishes.

  Attributes:
    name: the chip's name at the beginning of a topology, e.g. "v5e".
    flops: peak bfloat16 FLOP/s.
    hbm: bytes of memory.
    hbm_rate: bytes/s between memory and cores.
    ici_rate: bytes/s that the chip can send to other chips, over all its
      links together: half of the published figure where that counts both
      directions.
    example: an example of a topology.
    config: libtpu options under which the chip has the devices that jax shows
      on a real one.
  """

  name: str
  flops: float
  hbm: float
  hbm_rate: float
  ici_rate: float
  example: str
  config: str | None = None


# v5e, v5p, v6e, tpu7x: cloud.google.com/tpu/docs/{v5e,v5p,v6e,tpu7x}. v4:
# cloud.google.com/tpu/docs/v4, and six links of 50 GB/s (arXiv:2304.01433,
# table 4). Where a page says GB of memory, the chip has as many GiB.
CHIPS = {
  chip.name: chip
  for chip in (
    Chip("v4", 275e12, 32 * 2**30, 1228e9, 300e9, "v4:2x2x1", "megacore"),
    Chip("v5e", 197e12, 16 * 2**30, 819e9, 200e9, "v5e:4x4"),
    Chip("v5p", 459e12, 95 * 2**30, 2765e9, 600e9, "v5p:4x4x4"),
    Chip("v6e", 918e12, 32 * 2**30, 1638e9, 400e9, "v6e:4x4"),
    Chip("tpu7x", 2307e12, 192 * 2**30, 7380e9, 600e9, "tpu7x:2x2x1"),
  )
}


@dataclasses.dataclass(frozen=True)
class Slice:
  """A slice: TPU chips of one kind that are linked.

  Attributes:
    name: the topology, e.g. "v5e:4x4".
    chip: the kind of chip.
    chips: number of chips.
    devices: the slice's devices in jax; two a chip on tpu7x.
  """

  name: str
  chip: Chip
  chips: int
  devices: list[Any]

  @property
  def per_chip(self) -> int:
    """Devices per chip."""
    return len(self.devices) // self.chips


def find(topology: str) -> Chip:
  """Finds the chip of a topology.

  Raises:
    UserError: for a chip that is not in `CHIPS`, or a text that is no
      topology.
  """
  match = re.fullmatch(r"([A-Za-z0-9]+):\d+x\d+(x\d+)?", topology)
  examples = ", ".join(chip.example for chip in CHIPS.values())
  if not match:
    raise UserError(
      f"{option('topology', repr(topology))} is none: name a chip and how "
      f"many there are along each axis ({examples})"
    )
  if match[1] not in CHIPS:
    raise UserError(
      f"{option('topology', topology)}: there are no rates of a chip "
      f"{match[1]!r}{suggest(match[1], CHIPS)} (topologies: {examples}, and "
      "others of these chips)"
    )
  return CHIPS[match[1]]


def slice_of(topology: str) -> Slice:
  """Makes the devices of a topology; programs compile for them, not run.

  Raises:
    UserError: for an unknown topology, or without libtpu.
  """
  chip = find(topology)
  if not has_libtpu():
    raise UserError(
      "plans are made by the TPU's compiler, which is not here: pip install "
      "'offalign[tpu]' (or libtpu, in the version that jax[tpu] names)"
    )
  # There is no machine to query or to lock against other processes, and
  # libtpu's log would only speak of machines.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-1")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
  options = {} if chip.config is None else {"chip_config_name": chip.config}
  try:
    found = topologies.get_topology_desc(
      platform="tpu", topology_name=topology, **options
    )
  except JaxRuntimeError as error:
    reason = str(error).splitlines()[0]
    raise UserError(
      f"{option('topology', topology)}: libtpu knows no such one ({reason}); "
      f"one that it knows is {chip.example}"
    ) from None
  chips = math.prod(int(n) for n in topology.partition(":")[2].split("x"))
  return Slice(topology, chip, chips, list(found.devices))


def has_libtpu() -> bool:
  """Whether the compiler for TPUs is installed."""
  return (
    importlib.util.find_spec("libtpu") is not None
    or "TPU_LIBRARY_PATH" in os.environ
  )
