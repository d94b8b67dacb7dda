"""python -m offalign.plan: what a training step will take, before paying.

Compiles the step that training runs, for TPUs that this machine need not have:

  python -m offalign.plan --model=google/flan-t5-large --loss=dro_v \\
    --topology=v5e:4x4 --batch=32 --prompt=512 --completion=256

The flags of offalign.train, --cfg.*, are taken too: put the topology behind
them, and the step of that run is planned. --fit searches for the fastest plan
that fits.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags, logging

from offalign import losses
from offalign.config import Config, presets
from offalign.distributed import sharding
from offalign.distributed.sharding import MeshConfig
from offalign.errors import UserError, option, speaking, spoken
from offalign.models import attending
from offalign.models.base import Model
from offalign.planning import auto, chips, fit, meshes, report
from offalign.planning.analysis import Figures, figures
from offalign.planning.chips import Slice
from offalign.planning.program import PlanConfig, build
from offalign.planning.state import State
from offalign.policy import reference as other_reference
from offalign.programs import flags as flags_lib
from offalign.programs import plan_fit, plan_model
from offalign.programs.plan_options import (
  MESHES,
  TWINS,
  Planned,
  together,
  two_meshes,
)

_CFG = "cfg"


def of_plan(name: str, values: flags.FlagValues = flags.FLAGS) -> str:
  """The flag that sets an option: of the short one and training's, the given.

  Args:
    name: the option.
    values: the flags.
  """
  twin = f"{_CFG}.{TWINS.get(name, name)}"
  if name in values and values[name].present:
    return f"--{name}"
  if twin in values and values[twin].present:
    return f"--{twin}"
  return f"--{name}" if name in values else f"--{twin}"


@speaking(of_plan)
def main(argv: Sequence[str]) -> int:
  """Plans; returns 0 where the step fits, 1 where it does not, 2 on errors."""
  logging.set_verbosity(logging.WARNING)
  # Nothing runs here, whatever this machine has.
  jax.config.update("jax_platforms", "cpu")
  try:
    if len(argv) > 1:
      raise UserError(f"what is {argv[1]!r}? Flags begin with --.")
    config = flags_lib.read(PlanConfig, "")
    planned = wanted(config, *_given())
    place, rows = run_plan(config, planned)
  except UserError as error:
    flags_lib.complain("offalign.plan", error)
    return 2
  if rows:
    flags_lib.say(report.text(rows[0][1], place))
  if config.out is not None:
    write(pathlib.Path(config.out), planned, place, rows)
  return 0 if rows and rows[0][1].fits else 1


def _given() -> tuple[Config | None, set[str], set[str]]:
  """The options of a run and the short ones that were given, and a `Config`."""
  present = {name for name in flags.FLAGS if flags.FLAGS[name].present}
  run = {x.removeprefix("cfg.") for x in present if x.startswith("cfg.")}
  config = flags_lib.read(Config) if run else None
  return config, run, present


def plan(
  config: PlanConfig, run: Config | None = None
) -> tuple[Slice, Figures, list[tuple[str, Figures]]]:
  """Compiles for each mesh that is asked for.

  Args:
    config: the short flags.
    run: the options of a training run, if any.

  Returns:
    The chips; the figures of the best mesh; those of all, best first, each
    with the mesh.

  Raises:
    UserError: for a flag that cannot be.
  """
  place, rows = run_plan(config, wanted(config, run))
  if not rows:
    raise UserError(f"{option('fit')}: nothing fits, nothing was compiled")
  return place, rows[0][1], rows


def wanted(
  config: PlanConfig,
  run: Config | None = None,
  given: set[str] | None = None,
  short: set[str] | None = None,
) -> Planned:
  """What is to be planned; see `plan_options.together` for the arguments.

  Raises:
    UserError: naming the flag, as far as that needs no model.
  """
  if not config.topology:
    raise UserError(
      f"{option('topology')} is missing; give one such as "
      f"{option('topology', 'v5e:4x4')}"
    )
  most = config.fit_compiles
  if most is not None and (most < 1 or not config.fit):
    why = "must be at least 1" if config.fit else f"is for {option('fit')}"
    raise UserError(f"{option('fit_compiles', most)} {why}")
  if not config.model and run is None:
    raise UserError(
      f"{option('model')} is missing; give one such as "
      f"{option('model', 'google/flan-t5-large')}"
    )
  return together(config, run, given, short)


def run_plan(
  config: PlanConfig, planned: Planned
) -> tuple[Slice, list[tuple[str, Figures]]]:
  """Compiles, and says which plan is best.

  Args:
    config: the short flags.
    planned: what `wanted` has joined.

  Returns:
    The chips, and the figures of all plans that were compiled, best first.
  """
  chips.find(config.topology)
  if planned.idle:
    named = ", ".join(option(name) for name in planned.idle)
    _aside(f"these change nothing of what a step takes: {named}")
  model = plan_model.model_of(planned.run)
  place = chips.slice_of(config.topology)
  if config.fit:
    return place, _fit(config, planned, model, place)
  chosen, left_out = _meshes(planned, model, place)
  rows = [
    (meshes.spell(mesh), _one(planned, model, place, mesh)) for mesh in chosen
  ]
  rows.sort(
    key=lambda row: (not row[1].fits, row[1].bound.seconds, row[1].sent)
  )
  if planned.mesh is None:
    flags_lib.say(report.ranking(rows, left_out))
  flags_lib.say(f"\n{planned}, {place.name} as {rows[0][0]}")
  return place, rows


def _fit(
  config: PlanConfig, planned: Planned, model: Model, place: Slice
) -> list[tuple[str, Figures]]:
  """Searches, and says what was found and how to train it."""
  fixed = plan_fit.is_fixed(planned)
  most = config.fit_compiles or plan_fit.COMPILES
  found = plan_fit.search(
    planned,
    _meshes(planned, model, place)[0] if fixed else None,
    model,
    place,
    most,
    _aside,
  )
  flags_lib.say(fit.table(found, most))
  best = found[0]
  if best.figures is not None and best.figures.fits:
    flags_lib.say(f"\n{plan_fit.command(planned, best.candidate)}")
    flags_lib.say(f"\n{planned}, {place.name} as {fit.spell(best.candidate)}")
  return [
    (fit.spell(tried.candidate), tried.figures)
    for tried in found
    if tried.figures is not None
  ]


def _meshes(
  planned: Planned, model: Model, place: Slice
) -> tuple[list[MeshConfig], dict[str, str]]:
  """Those to compile for, and why "auto" leaves out the others."""
  n = len(place.devices)
  if isinstance(planned.mesh, str):
    mesh = meshes.parse(planned.mesh, n)
    for name in sorted(MESHES & planned.given):
      size = getattr(planned.run.mesh, name.removeprefix("mesh."))
      if size not in (-1, getattr(mesh, name.removeprefix("mesh."))):
        raise two_meshes(planned.mesh, name, size)
    return [mesh], {}
  if planned.mesh is not None and not planned.mesh.auto:
    sharding.make_mesh(planned.mesh, place.devices)
    fsdp, tensor = planned.mesh.fsdp, planned.mesh.tensor
    return [MeshConfig(n // (fsdp * tensor), fsdp, tensor)], {}
  if planned.mesh is not None:
    step = planned.step
    choice = auto.choose(
      State(
        step.loss, model, step.learner, _reference(planned), moves=step.moves
      ).held,
      n,
      place.chip.hbm / place.per_chip,
      lambda mesh: objection(mesh, planned, model, place),
    )
    flags_lib.say(f"mesh: training would choose {choice}")
    return [choice.mesh], {}
  chosen, left_out = [], {}
  for mesh in meshes.candidates(n):
    why = objection(mesh, planned, model, place)
    if why is None:
      chosen.append(mesh)
    else:
      left_out[meshes.spell(mesh)] = why
  if not chosen:
    reasons = "; ".join(f"{k}: {why}" for k, why in left_out.items())
    raise UserError(f"{option('mesh', 'auto')} finds no mesh ({reasons})")
  return chosen, left_out


def objection(
  mesh: MeshConfig, planned: Planned, model: Model, place: Slice
) -> str | None:
  """Why a mesh cannot be, before anything is compiled; None where it can."""
  step = planned.step
  try:
    sharding.make_mesh(mesh, place.devices)
  except UserError as error:
    return str(error)
  return meshes.objection(mesh, model, step.batch, step.learner.microbatches)


def _reference(planned: Planned) -> Model | None:
  """The model of another reference that the step runs; None = there is none."""
  return other_reference.described(planned.run, losses.get(planned.step.loss))


def _one(
  planned: Planned, model: Model, place: Slice, mesh: MeshConfig
) -> Figures:
  devices = sharding.make_mesh(mesh, place.devices)
  data, fsdp, tensor = devices.axis_sizes  # without -1
  spelled = meshes.spell(MeshConfig(data, fsdp, tensor))
  for sentence in sharding.unsplit(devices, model.splits):
    _aside(f"{spelled}: {sentence}")
  program = build(planned.step, model, devices, _reference(planned))
  why = attending.why_not(model, devices)
  _aside(attending.describe(planned.step.learner.attention, why))
  _aside(
    f"compiling for {place.name} as {spelled}; a large model takes minutes"
  )
  return figures(program, place)


def _aside(sentence: str) -> None:
  print(f"offalign.plan: {spoken(sentence)}", file=sys.stderr)


def write(
  path: pathlib.Path,
  planned: Planned,
  place: Slice,
  rows: list[tuple[str, Figures]],
) -> None:
  """Writes all figures as JSON: bytes, FLOPs and seconds."""
  content = {
    "config": about(planned, place),
    "chip": dataclasses.asdict(place.chip),
    "chips": place.chips,
    "devices": len(place.devices),
    "plans": [{"mesh": mesh} | report.as_json(row) for mesh, row in rows],
  }
  path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def about(planned: Planned, place: Slice) -> dict[str, Any]:
  """What was planned, as JSON."""
  step = dataclasses.asdict(planned.step)
  return {"model": planned.run.model, "topology": place.name} | step


def _flags() -> None:
  flags.DEFINE_string(
    _CFG, None, f"A preset to start from: {', '.join(presets.names())}."
  )
  flags_lib.define(PlanConfig, "")
  flags_lib.define(Config)


def run() -> None:
  """Starts the program; a preset's flags are read before the others."""
  flags_lib.start("plan", main, __doc__, _flags, presets.expand)
