"""python -m benchmarks.parity_table [--out=FILE]: the table in docs/parity.md.

Builds a tiny random checkpoint of every family with transformers, compares it
with what offalign makes of it, and prints a table in Markdown.
"""

import functools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import parity, parity_decoders, parity_t5

TOLERANCE = 1e-4


class Case(NamedTuple):
  """A checkpoint to compare.

  Attributes:
    build: writes it into a folder; returns the torch model.
    weights: the torch model -> tensors whose gradients are compared.
  """

  build: Callable[[Path], Any]
  weights: Callable[[Any], tuple[str, ...]]


def cases() -> dict[str, Case]:
  """Every family, by the name that its row gets."""
  t5 = {
    name: Case(
      functools.partial(parity_t5.build, name), lambda _: parity_t5.WEIGHTS
    )
    for name in parity_t5.CASES
  }
  decoders = {
    name: Case(
      functools.partial(parity_decoders.build, name), parity_decoders.weights
    )
    for name in parity_decoders.CASES
  }
  return t5 | decoders


_HEAD = """# Parity with transformers

Largest absolute errors against transformers {transformers} with torch
{torch}, in float32 on a CPU. The checkpoints are tiny and random, with
weights scaled up so that logits are of a realistic size and mistakes show;
deliberate mistakes (a missing logit scale, another gelu, another RoPE base,
a missing window, ...) are tested to move logits by more than the tolerance of
{tolerance}. Prompts are of unequal lengths with padding on either side, the
reference computes each row without padding. Gradients are with respect to two
named weights (of decoders, the embedding and all of a layer), relative to
their largest entry; DRO-V's are of the policy's
and of a separate value network's. Made by `python -m benchmarks.parity_table
--out=docs/parity.md`.

| family | largest logit | logits | log-probs (nats) | DPO gradient \\
| DRO-V gradient | greedy tokens |
|---|---|---|---|---|---|---|
"""


def table(rows: dict[str, parity.Errors]) -> str:
  """The page, from the errors of each family."""
  import torch
  import transformers

  head = _HEAD.replace("\\\n", "").format(
    transformers=transformers.__version__,
    torch=torch.__version__.partition("+")[0],
    tolerance=TOLERANCE,
  )
  return head + "".join(_row(name, e) for name, e in rows.items())


def _row(name: str, errors: parity.Errors) -> str:
  numbers = (errors.logits, errors.logps, errors.dpo, errors.dro_v)
  cells = " | ".join(f"{x:.1e}" for x in numbers)
  same = "same" if errors.greedy else "DIFFERENT"
  return f"| {name} | {errors.largest:.1f} | {cells} | {same} |\n"


def main(argv: list[str]) -> int:
  """Prints or writes the page; returns the exit status."""
  out = None
  for argument in argv:
    if not argument.startswith("--out="):
      print(f"parity_table: what is {argument!r}?", file=sys.stderr)
      return 2
    out = Path(argument.removeprefix("--out="))
  rows = {}
  for name, case in cases().items():
    with tempfile.TemporaryDirectory() as folder:
      theirs = case.build(Path(folder))
      rows[name] = parity.compare(Path(folder), theirs, case.weights(theirs))
    print(_row(name, rows[name]), end="", flush=True)
  page = table(rows)
  if out is not None:
    out.write_text(page, encoding="utf-8")
  worst = max(max(e.logits, e.logps, e.dpo, e.dro_v) for e in rows.values())
  return 0 if worst <= TOLERANCE and all(e.greedy for e in rows.values()) else 1


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
