"""A compiled train step in figures: memory, FLOPs, collectives, a bound."""

import dataclasses
import re
import time
from typing import Any

from jax.errors import JaxRuntimeError

from offalign.planning import hlo, traced_flops, traffic
from offalign.planning.chips import Slice
from offalign.planning.program import Program, bytes_per_device
from offalign.planning.traffic import Traffic


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes on each device while a step runs.

  Attributes:
    parameters: that train.
    frozen: weights that LoRA's adapters belong to.
    optimizer: its state.
    batch: the rows of the device.
    kept: activations that layers keep for the backward pass.
    temporaries: other temporaries: gradients, weights in the compute dtype,
      gathered weights, logits, and what lies in between.
    program: code, results that are new, and padding of the above.
    total: of the compiler's account; None where it gave up.
  """

  parameters: int
  frozen: int
  optimizer: int
  batch: int
  kept: int = 0
  temporaries: int = 0
  program: int = 0
  total: int | None = None


@dataclasses.dataclass(frozen=True)
class Bound:
  """Seconds below which a step cannot be, each at the published rate.

  Attributes:
    compute: all matrix products.
    memory: inputs and temporaries read once, results and temporaries written
      once.
    network: all collectives.
  """

  compute: float
  memory: float
  network: float

  @property
  def seconds(self) -> float:
    """The largest, as if all went on at the same time."""
    return max(self.compute, self.memory, self.network)

  @property
  def by(self) -> str:
    """Which that is."""
    return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]


@dataclasses.dataclass(frozen=True)
class Figures:
  """What is known of a step before it runs.

  Attributes:
    fits: whether the compiler could place it in a chip's memory.
    reason: what the compiler said where it could not.
    memory: bytes of a device.
    hbm: bytes that a device has.
    flops: of a step as written, over all devices.
    device_flops: of one device as compiled; as written and evenly shared
      where it does not fit.
    collectives: by kind; empty where it does not fit.
    bound: of the step's time.
    compile_seconds: how long the compiler took.
  """

  fits: bool
  reason: str
  memory: Memory
  hbm: float
  flops: float
  device_flops: float
  collectives: dict[str, Traffic]
  bound: Bound
  compile_seconds: float

  @property
  def sent(self) -> float:
    """Bytes that each device sends in a step."""
    return sum(entry.sent for entry in self.collectives.values())


def figures(program: Program, place: Slice) -> Figures:
  """Compiles a step and reads it.

  Args:
    program: on a mesh of the slice's devices.
    place: the chips.
  """
  known = Memory(
    parameters=bytes_per_device(program.state.params),
    frozen=bytes_per_device(program.ref_params),
    optimizer=bytes_per_device(program.state.opt_state),
    batch=bytes_per_device(program.batch),
  )
  step = program.trace()
  written = traced_flops.flops(step.jaxpr)
  lowered = step.lower()
  began = time.monotonic()
  try:
    compiled = lowered.compile()
  except JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    share = written / len(place.devices)
    return Figures(
      fits=False,
      reason=short(str(error)),
      memory=known,
      hbm=place.chip.hbm / place.per_chip,
      flops=written,
      device_flops=share,
      collectives={},
      bound=Bound(share * place.per_chip / place.chip.flops, 0.0, 0.0),
      compile_seconds=time.monotonic() - began,
    )
  seconds = time.monotonic() - began
  return read(compiled, known, place, written, seconds)


def read(
  compiled: Any, known: Memory, place: Slice, written: float, seconds: float
) -> Figures:
  """The figures of a step that the compiler found room for."""
  module = hlo.parse(compiled.as_text())
  stats = compiled.memory_analysis()
  temporary = stats.temp_size_in_bytes
  kept = min(int(traffic.kept(module)), temporary)
  total = (
    stats.argument_size_in_bytes
    + stats.output_size_in_bytes
    - stats.alias_size_in_bytes
    + temporary
    + stats.generated_code_size_in_bytes
  )
  listed = known.parameters + known.frozen + known.optimizer + known.batch
  memory = dataclasses.replace(
    known,
    kept=kept,
    temporaries=temporary - kept,
    program=max(total - temporary - listed, 0),
    total=total,
  )
  moved = (
    stats.argument_size_in_bytes + stats.output_size_in_bytes + 2 * temporary
  )
  collectives = traffic.collectives(module, len(place.devices))
  sent = sum(entry.sent for entry in collectives.values())
  own = traffic.flops(module)
  chip, n = place.chip, place.per_chip
  return Figures(
    fits=True,
    reason="",
    memory=memory,
    hbm=chip.hbm / n,
    flops=written,
    device_flops=own,
    collectives=collectives,
    bound=Bound(
      own * n / chip.flops, moved * n / chip.hbm_rate, sent * n / chip.ici_rate
    ),
    compile_seconds=seconds,
  )


def short(error: str) -> str:
  """What the compiler says about memory, in a sentence."""
  text = error.split("RESOURCE_EXHAUSTED:")[-1].strip().splitlines()[0]
  used = re.search(r"Used (\S+) of (\S+) hbm", error)
  return f"{used[1]} needed of {used[2]}" if used else text.rstrip(".")
