"""python -m offalign.plan: what a training step will take, before paying.

Compiles the step that training runs, for TPUs that this machine need not have:

  python -m offalign.plan --model=google/flan-t5-large --loss=dro_v \\
    --topology=v5e:4x4 --batch=32 --prompt=512 --completion=256
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import logging

from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError, option, speaking
from offalign.models.base import Model
from offalign.planning import chips, meshes, report
from offalign.planning.analysis import Figures, figures
from offalign.planning.chips import Slice
from offalign.planning.from_config import model_of
from offalign.planning.program import PlanConfig, build, check
from offalign.programs import flags as flags_lib


@speaking(flags_lib.of_program)
def main(argv: Sequence[str]) -> int:
  """Plans; returns 0 where the step fits, 1 where it does not, 2 on errors."""
  logging.set_verbosity(logging.WARNING)
  # Nothing runs here, whatever this machine has.
  jax.config.update("jax_platforms", "cpu")
  try:
    if len(argv) > 1:
      raise UserError(f"what is {argv[1]!r}? Flags begin with --.")
    config = flags_lib.read(PlanConfig, "")
    place, best, rows = plan(config)
  except UserError as error:
    flags_lib.complain("offalign.plan", error)
    return 2
  flags_lib.say(report.text(best, place))
  if config.out is not None:
    write(pathlib.Path(config.out), config, place, rows)
  return 0 if best.fits else 1


def plan(
  config: PlanConfig,
) -> tuple[Slice, Figures, list[tuple[str, Figures]]]:
  """Compiles for each mesh that is asked for.

  Args:
    config: the flags.

  Returns:
    The chips; the figures of the best mesh; those of all, best first, each
    with the mesh.

  Raises:
    UserError: for a flag that cannot be.
  """
  check(config)
  chips.find(config.topology)
  model = model_of(config.model)
  place = chips.slice_of(config.topology)
  chosen, left_out = _meshes(config, model, place)
  rows = [
    (meshes.spell(mesh), _one(config, model, place, mesh)) for mesh in chosen
  ]
  rows.sort(
    key=lambda row: (not row[1].fits, row[1].bound.seconds, row[1].sent)
  )
  if config.mesh == "auto":
    flags_lib.say(report.ranking(rows, left_out))
  flags_lib.say(
    f"\n{config.model}, {config.loss}, {place.name} as {rows[0][0]}"
  )
  return place, rows[0][1], rows


def _meshes(
  config: PlanConfig, model: Model, place: Slice
) -> tuple[list[MeshConfig], dict[str, str]]:
  """Those to compile for, and why "auto" leaves out the others."""
  n = len(place.devices)
  if config.mesh != "auto":
    return [meshes.parse(config.mesh, n)], {}
  chosen, left_out = [], {}
  for mesh in meshes.candidates(n):
    why = meshes.objection(mesh, model, config.batch, config.microbatches)
    try:
      sharding.make_mesh(mesh, place.devices)
    except UserError as error:
      why = str(error)
    if why is None:
      chosen.append(mesh)
    else:
      left_out[meshes.spell(mesh)] = why
  if not chosen:
    reasons = "; ".join(f"{k}: {why}" for k, why in left_out.items())
    raise UserError(f"{option('mesh', 'auto')} finds no mesh ({reasons})")
  return chosen, left_out


def _one(
  config: PlanConfig, model: Model, place: Slice, mesh: MeshConfig
) -> Figures:
  devices = sharding.make_mesh(mesh, place.devices)
  spelled = meshes.spell(mesh)
  for sentence in sharding.unsplit(devices, model.splits):
    print(f"offalign.plan: {spelled}: {sentence}", file=sys.stderr)
  program = build(config, model, devices)
  print(
    f"offalign.plan: compiling for {place.name} as {spelled}; a large model "
    "takes minutes",
    file=sys.stderr,
  )
  return figures(program, place)


def write(
  path: pathlib.Path,
  config: PlanConfig,
  place: Slice,
  rows: list[tuple[str, Figures]],
) -> None:
  """Writes all figures as JSON: bytes, FLOPs and seconds."""
  content = {
    "config": dataclasses.asdict(config),
    "chip": dataclasses.asdict(place.chip),
    "chips": place.chips,
    "devices": len(place.devices),
    "plans": [{"mesh": mesh} | report.as_json(row) for mesh, row in rows],
  }
  path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _flags() -> None:
  flags_lib.define(PlanConfig, "")


def run() -> None:
  """Starts the program."""
  flags_lib.start("plan", main, __doc__, _flags)
