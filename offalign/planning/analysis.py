"""Figures of a compiled train step: memory, FLOPs, collectives, least time."""

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
  """Memory of a step: bytes on each device while it runs.

  Attributes:
    parameters: trained params.
    frozen: frozen weights under LoRA's adapters, and those of a reference that
      the step runs.
    optimizer: the optimiser's state.
    batch: the device's rows.
    kept: activations that layers keep for the backward pass.
    temporaries: other temporaries: gradients, weights in the compute dtype,
      gathered weights, logits, and other intermediate results.
    program: code, new results, and padding of all the above.
    total: the compiler's total; None where it gave up.
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
  """Lower bounds on a step's time, in seconds at the chip's published rates.

  Attributes:
    compute: time of all matrix products.
    memory: time to read inputs and temporaries once, and to write results and
      temporaries once.
    network: time of all collectives.
  """

  compute: float
  memory: float
  network: float

  @property
  def seconds(self) -> float:
    """The largest of the three bounds, as if all overlapped."""
    return max(self.compute, self.memory, self.network)

  @property
  def by(self) -> str:
    """The name of the largest bound."""
    return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]


@dataclasses.dataclass(frozen=True)
class Figures:
  """Figures of a step before it runs.

  Attributes:
    fits: whether the step fits into a chip's memory, by the compiler.
    reason: what the compiler said where it does not fit.
    memory: bytes that the step needs on a device.
    hbm: bytes of memory that a device has.
    flops: FLOPs of the step as written, over all devices.
    device_flops: FLOPs of one device as compiled; where the step does not
      fit, an even share of `flops`.
    collectives: traffic by kind of collective; empty where it does not fit.
    bound: lower bounds on the step's time.
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
  """Compiles a step and reads its figures from the compiled program.

  Args:
    program: the step, on a mesh of the slice's devices.
    place: the slice of chips to compile for.
  """
  known = Memory(
    parameters=bytes_per_device(program.state.params),
    frozen=bytes_per_device(
      (program.ref_params, program.reference, program.idle)
    ),
    optimizer=bytes_per_device(program.state.opt_state),
    batch=bytes_per_device((program.batch, program.demonstrations)),
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
  idle = bytes_per_device(program.idle)
  return read(compiled, known, place, written, seconds, idle)


def read(
  compiled: Any,
  known: Memory,
  place: Slice,
  written: float,
  seconds: float,
  idle: int = 0,
) -> Figures:
  """Reads the figures of a compiled step, beside which `idle` bytes lie."""
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
    + idle
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
  # The TPU's compiler has refused what does not fit; others do not.
  fits = total <= chip.hbm / n
  return Figures(
    fits=fits,
    reason="" if fits else f"{total / 1e9:.3g} of {chip.hbm / n / 1e9:.3g} GB",
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
  """Shortens the compiler's error about memory to a sentence."""
  text = error.split("RESOURCE_EXHAUSTED:")[-1].strip().splitlines()[0]
  used = re.search(r"Used (\S+) of (\S+) hbm", error)
  return f"{used[1]} needed of {used[2]}" if used else text.rstrip(".")
