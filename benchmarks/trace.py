"""Read a profiler's trace: what the devices did, and when they did nothing."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from jax.profiler import ProfileData

from offalign.errors import UserError

_KINDS = (
  ("attention", r"attention|flash|fmha|softmax"),
  ("matrix products", r"gemm|gemv|cublas|cutlass|dot|matmul|xmma|nvjet|ynn"),
  ("collectives", r"nccl|all.?reduce|all.?gather|reduce.?scatter|permute"),
  ("copies", r"copy|memcpy|memset|transpose|concatenate|slice|bitcast"),
  ("gathers and scatters", r"gather|scatter|sort|top.?k"),
  ("reductions", r"reduce|norm"),
  ("random numbers", r"rng|threefry"),
  ("other fusions", r"fusion|fused|loop|wrapped"),
)
"""Kind -> what a name of its operations has; the first that fits counts."""
_EXECUTE = "ThunkExecutor::Execute"
"""What a part of a program is called in a trace of a CPU."""


@dataclasses.dataclass(frozen=True)
class Op:
  """One operation on a device.

  Attributes:
    name: a kernel's on a GPU, an instruction's of HLO elsewhere.
    start: in seconds, from some beginning.
    end: in seconds.
  """

  name: str
  start: float
  end: float


def read(folder: pathlib.Path) -> list[Op]:
  """The operations of the newest trace below a folder, by their start.

  Raises:
    UserError: where there is no trace, or none of a device in it.
  """
  return _chosen(folder, _is_operation)


def programs(folder: pathlib.Path) -> list[Op]:
  """The runs of compiled programs in the newest trace, by their start.

  On a CPU, where not every operation leaves an event of its own, and on a GPU,
  whose programs are kernels in a stream, operations count for themselves; on a
  CPU so do the runtime's events of a program.

  Raises:
    UserError: where there is no trace, or none of a device in it.
  """
  return _chosen(folder, _is_program)


def _chosen(
  folder: pathlib.Path, wanted: Callable[[str, str, str], bool]
) -> list[Op]:
  """The events, by plane, line and name, that are wanted, by their start."""
  found = [
    op for plane, line, op in _events(folder) if wanted(plane, line, op.name)
  ]
  if not found:
    raise UserError(f"the trace in {folder} holds no operation of a device")
  return sorted(found, key=lambda op: op.start)


def _is_operation(plane: str, line: str, name: str) -> bool:
  # On a CPU, the runtime's own events stand among the operations.
  return _is_of_device(plane, line) and not re.match(r".*::|end: ", name)


def _is_program(plane: str, line: str, name: str) -> bool:
  if plane.startswith("/device:TPU"):
    return line == "XLA Modules"
  executes = plane == "/host:CPU" and name.startswith(_EXECUTE)
  return executes or _is_operation(plane, line, name)


def _events(folder: pathlib.Path) -> Iterator[tuple[str, str, Op]]:
  """Plane, line and event of everything in the newest trace."""
  paths = sorted(folder.rglob("*.xplane.pb"), key=lambda p: p.stat().st_mtime)
  if not paths:
    raise UserError(f"{folder} holds no trace (*.xplane.pb)")
  for plane in ProfileData.from_file(str(paths[-1])).planes:
    for line in plane.lines:
      for event in line.events:
        start = event.start_ns * 1e-9
        end = start + event.duration_ns * 1e-9
        yield plane.name, line.name, Op(event.name, start, end)


def _is_of_device(plane: str, line: str) -> bool:
  """Whether a line of a plane has what a device did, each thing once."""
  if plane.startswith("/device:GPU"):
    return line.startswith("Stream")
  if plane.startswith("/device:TPU"):
    return line == "XLA Ops"
  return plane == "/host:CPU" and line.startswith("tf_XLA")


def idle(ops: Sequence[Op]) -> float:
  """The share of the time from the first operation to the last without any."""
  busy, until = 0.0, ops[0].start
  for op in ops:
    busy += max(op.end - max(op.start, until), 0.0)
    until = max(until, op.end)
  return 1.0 - busy / (until - ops[0].start)


def by_kind(ops: Iterable[Op]) -> dict[str, float]:
  """Kind of operation -> its share of the time, the largest first.

  Where operations overlap, the time counts for each.
  """
  seconds: dict[str, float] = {}
  for op in ops:
    kind = kind_of(op.name)
    seconds[kind] = seconds.get(kind, 0.0) + op.end - op.start
  total = sum(seconds.values())
  largest = sorted(seconds.items(), key=lambda item: -item[1])
  return {kind: each / total for kind, each in largest}


def kind_of(name: str) -> str:
  """The kind of an operation, from its name.

  >>> kind_of("sm90_xmma_gemm_bf16bf16_bf16f32"), kind_of("convert.3")
  ('matrix products', 'everything else')
  """
  for kind, words in _KINDS:
    if re.search(words, name, re.IGNORECASE):
      return kind
  return "everything else"
