"""Collectives, FLOPs and kept activations of a compiled program."""

import dataclasses
import math
import re

import numpy as np

from offalign.planning import hlo, kernel_flops

KINDS = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)


@dataclasses.dataclass
class Traffic:
  """Traffic of one kind of collective in one run of the program.

  Attributes:
    calls: how often a collective of this kind runs.
    sent: bytes that each device sends, if no byte is sent twice.
  """

  calls: float = 0
  sent: float = 0


def collectives(module: hlo.Module, devices: int) -> dict[str, Traffic]:
  """Counts the traffic of a run of the program, by kind of collective.

  Of n devices, each sends (n - 1) times its part in an all-gather, (n - 1)/n
  of what it holds in a reduce-scatter or an all-to-all, twice that in an
  all-reduce, and all in a permute. The TPU's compiler turns many all-gathers
  and reduce-scatters into rings of permutes, to compute meanwhile.

  Args:
    module: the program.
    devices: number of devices in the mesh; a collective that names no groups
      is over all of them.
  """
  found: dict[str, Traffic] = {}
  # A collective that is spread over several fusions, to run beside their
  # work, appears in each of them under the same channel number.
  fusions = module.fusions()
  seen: set[tuple[str, str]] = set()
  for name, line, times in module.each():
    kind = line.op.removesuffix("-start")
    if kind not in KINDS:
      continue
    channel = re.search(r"channel_id=(\d+)", line.attributes)
    if channel and name in fusions:
      if (kind, channel[1]) in seen:
        continue
      seen.add((kind, channel[1]))
    computation = module.computations[name]
    held = sum(computation[x].size for x in line.operands)
    n = _group(line.attributes, devices)
    if kind == "all-reduce" and name.startswith("all-reduce-scatter"):
      kind = "reduce-scatter"  # a fusion that keeps one part of the sum
    entry = found.setdefault(kind, Traffic())
    entry.calls += times
    entry.sent += times * held * _share(kind, n)
  return found


def _share(kind: str, n: int) -> float:
  if kind == "collective-permute":
    return 1.0
  if kind == "all-gather":
    return n - 1.0
  return (2 if kind == "all-reduce" else 1) * (n - 1) / n


def _group(attributes: str, devices: int) -> int:
  """How many devices take part in each group of a collective."""
  # Forms: mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}; [2,4]<=[8];
  # {{0,1},{2,3}}; and {} for all.
  if mesh := re.search(
    r"replica_groups=mesh\[(.*?)\][^{]*\{([^}]*)\}", attributes
  ):
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
    axes = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2])
    return math.prod(int(part or sizes[axis]) for axis, part in axes)
  if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", attributes):
    return int(iota[1])
  if braces := re.search(r"replica_groups=\{\{([\d,]+)\}", attributes):
    return braces[1].count(",") + 1
  if "replica_groups=" in attributes and "replica_groups={}" not in attributes:
    raise ValueError(f"groups of devices in an unknown spelling: {attributes}")
  return devices


def flops(module: hlo.Module) -> float:
  """Counts FLOPs of matrix products on one device in a run of the program.

  Unlike XLA's own count, the body of a loop counts as often as it runs. A
  multiplication with an addition counts as two. Anything but matrix products
  is left out, and kernels but those of attention (see `kernel_flops`).
  """
  total = 0.0
  for name, line, times in module.each():
    if line.op == "custom-call":
      total += times * kernel_flops.flops(line.attributes)
    if line.op in ("dot", "convolution"):
      count = _dot if line.op == "dot" else _convolution
      total += times * count(module.computations[name], line)
  return total


def _sizes(line: hlo.Instruction) -> tuple[int, ...]:
  return hlo.shapes(line)[0][1]


def _dot(computation: hlo.Computation, line: hlo.Instruction) -> float:
  left = _sizes(computation[line.operands[0]])
  match = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.attributes)
  dims = [int(i) for i in match[1].split(",") if i] if match else []
  return 2.0 * math.prod(_sizes(line)) * math.prod(left[i] for i in dims)


def _convolution(computation: hlo.Computation, line: hlo.Instruction) -> float:
  """FLOPs of a convolution, which is how the TPU's compiler writes products.

  Batched products have windows. Products with padding, or with holes between
  elements, are not counted.
  """
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.attributes)
  assert labels is not None, line
  left, right = (_sizes(computation[x]) for x in line.operands[:2])
  sizes = [
    dict(zip(names, shape, strict=True))
    for names, shape in zip(
      labels.groups(), (left, right, _sizes(line)), strict=True
    )
  ]
  window = re.search(r"window=\{([^}]*)\}", line.attributes)
  options = dict(re.findall(r"(\w+)=(\S+)", window[1] if window else ""))
  total = 2.0 * sizes[2]["b"] * sizes[2]["f"] * sizes[1]["i"]
  for i in range(len(labels[1]) - 2):
    axis = str(i)
    stride, low, spread, apart = (
      int(options[name].split("x")[i].split("_")[0]) if name in options else d
      for name, d in (
        ("stride", 1),
        ("pad", 0),
        ("lhs_dilate", 1),
        ("rhs_dilate", 1),
      )
    )
    place = (
      np.arange(sizes[2][axis])[:, None] * stride
      - low
      + np.arange(sizes[1][axis])[None, :] * apart
    )
    inside = (place >= 0) & (place < (sizes[0][axis] - 1) * spread + 1)
    total *= np.count_nonzero(inside & (place % spread == 0))
  return float(total)


def kept(module: hlo.Module) -> float:
  """Counts bytes of activations that layers keep for the backward pass.

  These are the stacked results that loops of the forward pass write layer by
  layer (or one chunk of logits after the other), except for those in a core's
  own memory.
  """
  total = 0.0
  for name, computation in module.computations.items():
    for line in computation.values():
      forward = re.search(r'op_name="([^"]*)/while"', line.attributes)
      if line.op != "while" or not forward or "jvp(" not in forward[1]:
        continue
      if "transpose(" not in forward[1]:
        total += _written(module, name, line)
  return total


def _written(module: hlo.Module, name: str, loop: hlo.Instruction) -> float:
  """Bytes of a loop's stacked results."""
  n = hlo.trips(module, name, loop)
  match = re.search(r"body=%([^\s,]+)", loop.attributes)
  assert match is not None, loop
  body = module.computations[match[1]]
  total = 0.0
  for i, operand in enumerate(hlo.root(body).operands):
    line = body[operand]
    passed = line.op == "get-tuple-element" and line.index == i
    (_, dims), *_ = [*hlo.shapes(line), ("", ())]
    if not passed and dims[:1] == (n,) and "S(1)" not in line.type:
      total += line.size
  return total
