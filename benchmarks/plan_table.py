"""python -m benchmarks.plan_table: the table of docs/plan.md.

Each row is a plan (`python -m offalign.plan`), which is compiled for minutes
and kept as JSON under --out; rows that are there already are only printed.

  python -m benchmarks.plan_table --out=results/plans
"""

import argparse
import json
import pathlib
import sys
from typing import Any

import jax

from offalign.config import Config, DataConfig
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError
from offalign.models.lora import LoraConfig
from offalign.planning import report
from offalign.planning.program import PlanConfig
from offalign.programs import plan
from offalign.programs.plan_options import Planned, together

_DRO: dict[str, Any] = {"loss": "dro_v", "optimizer": "adafactor"}
_LARGE = {**_DRO, "model": "google/flan-t5-large"}
_LLAMA: dict[str, Any] = {
  "model": "meta-llama/Meta-Llama-3-8B",
  "loss": "dpo",
  "topology": "v5p:4x4x4",
  "batch": 64,
}

_ROWS: dict[str, PlanConfig] = {
  "t5-large-16": PlanConfig(**_LARGE, topology="v5e:4x4"),
  "t5-xl-32": PlanConfig(**_DRO, model="google/flan-t5-xl", topology="v5e:4x8"),
  "llama3-8b-64": PlanConfig(**_LLAMA, mesh="fsdp"),
  "llama3-8b-64-copies": PlanConfig(**_LLAMA, mesh="data=4,fsdp=16"),
  # A pair of ordinary chat length.
  "llama3-8b-4k": PlanConfig(
    **_LLAMA, prompt=3072, completion=1024, mesh="fsdp"
  ),
  # The first row again, with the batch growing as the chips do.
  "t5-large-64": PlanConfig(**_LARGE, topology="v5e:8x8", batch=128),
  "t5-large-256": PlanConfig(**_LARGE, topology="v5e:16x16", batch=512),
  # And with copies of the state over 16 chips each.
  "t5-large-64-copies": PlanConfig(
    **_LARGE, topology="v5e:8x8", batch=128, mesh="data=4,fsdp=16"
  ),
  "t5-large-256-copies": PlanConfig(
    **_LARGE, topology="v5e:16x16", batch=512, mesh="data=16,fsdp=16"
  ),
  "t5-large-1024-copies": PlanConfig(
    **_LARGE, topology="v5p:8x8x16", batch=2048, mesh="data=64,fsdp=16"
  ),
  # One row a chip, as --cfg.mesh.auto arranges them.
  **{
    f"llama3-8b-sft-{chips}": PlanConfig(
      model="meta-llama/Meta-Llama-3-8B",
      loss="sft",
      topology=topology,
      batch=chips,
      mesh=f"data={chips // 8},fsdp=8",
    )
    for chips, topology in (
      (16, "v5p:2x2x4"),
      (256, "v5p:4x8x8"),
      (1024, "v5p:8x8x16"),
    )
  },
}
_LONG: dict[str, Any] = {
  "loss": "dpo",
  "compute_dtype": "bfloat16",
  "data": DataConfig(max_prompt=512, max_completion=256),
}

ROWS: dict[str, tuple[PlanConfig, Config | None]] = {
  **{name: (config, None) for name, config in _ROWS.items()},
  "llama3-70b-512": (
    PlanConfig(topology="v5p:8x8x8"),
    Config(
      **_LONG,
      model="meta-llama/Meta-Llama-3-70B",
      batch_size=512,
      remat="block",
      mesh=MeshConfig(data=8, fsdp=64),
    ),
  ),
  "llama3-8b-32k": (
    PlanConfig(topology="v5p:4x4x4"),
    Config(
      loss="dpo",
      compute_dtype="bfloat16",
      data=DataConfig(max_prompt=24576, max_completion=8192),
      model="meta-llama/Meta-Llama-3-8B",
      batch_size=64,
      remat="block",
      mesh=MeshConfig(fsdp=64),
    ),
  ),
  "llama3-8b-lora-16": (
    PlanConfig(topology="v5e:4x4"),
    Config(
      **_LONG,
      model="meta-llama/Meta-Llama-3-8B",
      batch_size=16,
      remat="block",
      lora=LoraConfig(rank=16),
      mesh=MeshConfig(fsdp=16),
    ),
  ),
}
"""Name -> the flags of a plan, and those of training.

The first two are the DRO paper's (arXiv:2405.19107).
"""


def main() -> int:
  """Plans what is missing, and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--out", default="results/plans")
  parser.add_argument("--only", choices=ROWS, action="append")
  parser.add_argument("--print", action="store_true", help="compile nothing")
  given = parser.parse_args()
  jax.config.update("jax_platforms", "cpu")
  out = pathlib.Path(given.out)
  out.mkdir(parents=True, exist_ok=True)
  for name in given.only or ROWS:
    path = out / f"{name}.json"
    if path.exists() or given.print:
      continue
    try:
      place, figures, rows = plan.plan(*ROWS[name])
    except UserError as error:
      print(f"{name}: {error}", file=sys.stderr)
      return 2
    print(report.text(figures, place), flush=True)
    plan.write(path, together(*ROWS[name]), place, rows)
  print(table(out))
  return 0


def table(folder: pathlib.Path) -> str:
  """The rows that there are, as Markdown."""
  lines = [
    "| step | chips, mesh | fits | memory | params + optimiser | kept "
    "activations | other temporaries | PFLOPs | sent | at least | bound by |",
    "| :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: "
    "| :--- |",
  ]
  for name, (config, run) in ROWS.items():
    path = folder / f"{name}.json"
    if path.exists():
      found = json.loads(path.read_text(encoding="utf-8"))
      lines.append(_line(together(config, run), config.topology, found))
    else:
      lines.append(f"| {name}: not planned yet |")
  return "\n".join(lines)


def _line(planned: Planned, topology: str, found: dict[str, Any]) -> str:
  best = found["plans"][0]
  memory, bound = best["memory"], best["bound"]
  state = sum(memory[x] for x in ("parameters", "frozen", "optimizer"))
  sizes = [memory["total"] or 0, state, memory["kept"], memory["temporaries"]]
  cells = [
    str(planned).partition("/")[2].replace(", bfloat16", ""),
    f"{topology}, {best['mesh']}",
    "yes" if best["fits"] else "no",
    *(f"{size / 1e9:.2f} GB" for size in sizes),
    f"{best['flops'] / 1e15:.2f}",
    f"{best['sent'] / 1e9:.2f} GB",
    f"{1e3 * bound['seconds']:.0f} ms",
    bound["by"],
  ]
  return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
  sys.exit(main())
