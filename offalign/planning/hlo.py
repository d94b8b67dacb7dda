"""HLO: parse a compiled program and count how often each part of it runs.

XLA prints a program as computations, which are lists of instructions. An
instruction may call other computations; a loop calls its body many times,
so each instruction of the body counts as many times.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator

_BYTES = {
  "pred": 1,
  "s4": 0.5,
  "u4": 0.5,
  "s8": 1,
  "u8": 1,
  "s16": 2,
  "u16": 2,
  "f16": 2,
  "bf16": 2,
  "s32": 4,
  "u32": 4,
  "f32": 4,
  "s64": 8,
  "u64": 8,
  "f64": 8,
}
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_HEAD = re.compile(r"(ENTRY )?%?(\S+) \(.*\{$")
_LINE = re.compile(r"\s+(ROOT )?%?(\S+) = ")
_CONTINUES = re.compile(r'"|\}\}')  # attributes that begin a line
_NAME = re.compile(r"%([^\s,(){}]+)")
_CALLS = re.compile(
  r"\b(?:calls|body|condition|called_computations|branch_computations"
  r"|true_computation|false_computation)=(\{[^}]*\}|%[^\s,(){}]+)"
)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An HLO instruction, one line of a computation.

  Attributes:
    name: the instruction's name without "%".
    type: a shape, or several in parentheses.
    op: "dot", "while", "all-gather-start" and so on.
    operands: names of the operands.
    attributes: the text after the operands; for a parameter or a constant it
      begins with the text between the parentheses.
    root: whether this is the result of the computation.
  """

  name: str
  type: str
  op: str
  operands: tuple[str, ...]
  attributes: str
  root: bool

  @property
  def called(self) -> list[str]:
    """Computations that this instruction calls, reduction functions aside."""
    found = _CALLS.findall(self.attributes)
    if self.op == "call":
      found += re.findall(r"to_apply=(%[^\s,]+)", self.attributes)
    return [name for part in found for name in _NAME.findall(part)]

  @property
  def index(self) -> int:
    """The index of a get-tuple-element."""
    match = re.search(r"index=(\d+)", self.attributes)
    return int(match[1]) if match else -1

  @property
  def size(self) -> float:
    """Size of the result in bytes."""
    return sum(
      _BYTES.get(dtype, 0) * math.prod(dims) for dtype, dims in shapes(self)
    )


Computation = dict[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
  """A compiled program.

  Attributes:
    computations: computations by name.
    entry: name of the computation that runs first.
  """

  computations: dict[str, Computation]
  entry: str

  def runs(self) -> dict[str, float]:
    """Counts how often each computation runs in a run of the program."""
    counts: dict[str, float] = {}

    def visit(name: str, times: float) -> None:
      counts[name] = counts.get(name, 0) + times
      for line in self.computations[name].values():
        each = times * (trips(self, name, line) if line.op == "while" else 1)
        # An asynchronous operation names its computation in each half.
        if not line.op.endswith(("-done", "-update")):
          for called in line.called:
            visit(called, each)

    visit(self.entry, 1)
    return counts

  def each(self) -> Iterator[tuple[str, Instruction, float]]:
    """Yields (computation, instruction, how often it runs) for each one."""
    for name, times in self.runs().items():
      for line in self.computations[name].values():
        yield name, line, times

  def fusions(self) -> set[str]:
    """Names of fused computations, which run as one kernel."""
    return {
      called
      for computation in self.computations.values()
      for line in computation.values()
      if line.op == "fusion"
      for called in line.called
    }


def parse(text: str) -> Module:
  """Parses the text that `compiled.as_text()` returns."""
  computations: dict[str, Computation] = {}
  entry, current = "", None
  for line in _whole_lines(text):
    if line.startswith("}"):
      current = None
    elif current is None:
      if head := _HEAD.match(line):
        current = computations.setdefault(head[2], {})
        entry = head[2] if head[1] else entry
    elif found := _LINE.match(line):
      rest = re.sub(r"/\*.*?\*/", "", line[found.end() :])
      kind, rest = _take(rest)
      op, _, rest = rest.lstrip().partition("(")
      inside, rest = _take("(" + rest)
      if op in ("parameter", "constant"):
        rest, inside = inside + rest, ""
      current[found[2]] = Instruction(
        found[2], kind, op, tuple(_NAME.findall(inside)), rest, bool(found[1])
      )
  return Module(computations, entry)


def _whole_lines(text: str) -> Iterator[str]:
  """Lines of a program; those of kernels are printed over several."""
  lines = text.splitlines()
  starts = [i for i, line in enumerate(lines) if not _CONTINUES.match(line)]
  for first, after in itertools.pairwise([*starts, len(lines)]):
    yield "".join(lines[first:after])


def _take(text: str) -> tuple[str, str]:
  """Splits text after its first word, or after its first (...) group."""
  if not text.startswith("("):
    word, _, rest = text.partition(" ")
    return word, rest
  depth = 0
  for i, letter in enumerate(text):
    depth += (letter == "(") - (letter == ")")
    if not depth:
      return text[: i + 1], text[i + 1 :]
  return text, ""


def shapes(line: Instruction) -> list[tuple[str, tuple[int, ...]]]:
  """(dtype, sizes) of an instruction's result; several for a tuple."""
  return [
    (dtype, tuple(int(n) for n in dims.split(",") if n))
    for dtype, dims in _SHAPE.findall(line.type)
  ]


def root(computation: Computation) -> Instruction:
  """The instruction whose result a computation returns."""
  return next(line for line in computation.values() if line.root)


def trips(module: Module, name: str, loop: Instruction) -> int:
  """Counts how often a loop's body runs.

  The number is read from XLA's annotation if there is one; the TPU's compiler
  drops it. Else it follows from the loop itself, in the form that jax and the
  partitioner write: while i < limit, i += step.

  Args:
    module: the program.
    name: the computation that the loop is in.
    loop: the "while" instruction.

  Raises:
    ValueError: for a loop of another form.
  """
  known = re.search(r'known_trip_count\D+"n":"(\d+)"', loop.attributes)
  if known:
    return int(known[1])
  parts = dict(re.findall(r"(condition|body)=%([^\s,]+)", loop.attributes))
  test, body = (module.computations[parts[x]] for x in ("condition", "body"))
  last = root(test)
  inner = [
    line
    for called in last.called
    for line in module.computations[called].values()
  ]
  tested = any(
    x.op == "compare" and "direction=LT" in x.attributes for x in (last, *inner)
  )
  sides = [test[operand] for operand in last.operands if operand in test]
  counters = [x for x in sides if x.op == "get-tuple-element"]
  limits = [n for x in sides if (n := _constant(test, x.name)) is not None]
  if not tested or len(counters) != 1 or len(limits) != 1:
    raise ValueError(f"the loop {loop.name} does not count up to a constant")
  i = counters[0].index
  start = _constant(
    module.computations[name],
    module.computations[name][loop.operands[0]].operands[i],
  )
  step = _step(module, body, root(body).operands[i])
  return math.ceil((limits[0] - (start or 0)) / step)


def _constant(computation: Computation, name: str) -> int | None:
  line = computation.get(name)
  while line is not None and line.op in ("copy", "bitcast", "convert"):
    line = computation.get(line.operands[0])
  if line is None or line.op != "constant":
    return None
  match = re.match(r"\(?(-?\d+)\)", line.attributes)
  return int(match[1]) if match else None


def _step(module: Module, body: Computation, name: str) -> int:
  """The step that is added to a loop's counter."""
  line = body[name]
  while line.op in ("copy", "bitcast"):
    line = body[line.operands[0]]
  constants = [
    n for operand in line.operands if (n := _constant(body, operand))
  ]
  for called in line.called:
    inner = module.computations[called]
    constants += [n for x in inner if (n := _constant(inner, x))]
  return constants[0] if len(constants) == 1 else 1
