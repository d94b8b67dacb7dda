"""What `offalign plan --fit` tries, and the command that trains the best."""

import dataclasses
import pathlib
import shlex
from collections.abc import Callable

from offalign import losses
from offalign.config import Config
from offalign.distributed import sharding
from offalign.distributed.sharding import AXES, MeshConfig
from offalign.errors import UserError
from offalign.models.base import Model
from offalign.planning import auto, fit, meshes, traced_flops
from offalign.planning.analysis import Figures, figures
from offalign.planning.chips import Slice
from offalign.planning.fit import Candidate, Guess, Tried
from offalign.planning.program import Program, Step, build
from offalign.planning.state import State
from offalign.policy import reference as other_reference
from offalign.programs.plan_options import MESHES, Planned, options

COMPILES = 12
"""Most programs that a search compiles, where no other number is given."""

_PLACES = {"data.path": "DATA", "out": "RUN"}
"""What a command names where nothing was given."""


def search(
  planned: Planned,
  given: list[MeshConfig] | None,
  model: Model,
  place: Slice,
  most: int,
  aside: Callable[[str], None],
) -> list[Tried]:
  """Searches; see `fit.search`.

  Args:
    planned: what is to be planned; of mesh, microbatches and remat, those
      that were given are kept.
    given: the meshes, where they were given.
    model: the model.
    place: the chips.
    most: how many programs to compile.
    aside: says what is being compiled.

  Raises:
    UserError: for options that no candidate can have.
  """
  candidates, impossible = _candidates(planned, given, model, place)
  step = planned.step
  reference = other_reference.described(planned.run, losses.get(step.loss))
  state = State(step.loss, model, step.learner, reference, moves=step.moves)
  tokens = step.batch * (step.prompt + step.k * step.completion)
  chip, n = place.chip, place.per_chip
  written: dict[str, float] = {}

  def program(each: Candidate) -> Program:
    devices = sharding.make_mesh(each.mesh, place.devices)
    return build(_step(planned.step, each), model, devices, reference)

  def guess(each: Candidate) -> Guess:
    if each.remat not in written:
      written[each.remat] = traced_flops.flops(program(each).trace().jaxpr)
    share = written[each.remat] / len(place.devices)
    sent = state.sent(each.mesh, tokens, each.microbatches)
    return Guess(
      kept=state.kept(each.mesh),
      compute=share * n / chip.flops,
      network=sent * n / chip.ici_rate,
      roomy=state.held(each.mesh) <= auto.SHARE * chip.hbm / n,
    )

  def compiled(each: Candidate) -> Figures:
    aside(f"compiling for {place.name} as {fit.spell(each)}")
    return figures(program(each), place)

  found = fit.search(candidates, guess, compiled, chip.hbm / n, most)
  return found + impossible


def _step(step: Step, each: Candidate) -> Step:
  learner = dataclasses.replace(
    step.learner, microbatches=each.microbatches, remat=each.remat
  )
  return dataclasses.replace(step, learner=learner)


def _candidates(
  planned: Planned, given: list[MeshConfig] | None, model: Model, place: Slice
) -> tuple[list[Candidate], list[Tried]]:
  """Those that can be, and those that cannot, with the reason."""
  learner = planned.step.learner
  shapes = given or [
    mesh
    for tensor in auto.TENSORS
    for mesh in auto.hierarchical(len(place.devices), tensor)
  ]
  cuts: tuple[int, ...] = fit.MICROBATCHES
  if "microbatches" in planned.given:
    cuts = (learner.microbatches,)
  remats = fit.REMATS
  if "remat" in planned.given or model.rematted is None:
    remats = (learner.remat,)
  able: list[Candidate] = []
  unable: list[Tried] = []
  for mesh in shapes:
    linked = _linked(mesh, place)
    for cut in cuts:
      why = linked or _objection(mesh, model, planned.step.batch, cut)
      for remat in remats:
        each = Candidate(mesh, cut, remat)
        if why is None:
          able.append(each)
        else:
          unable.append(Tried(each, why))
  return able, unable


def _objection(
  mesh: MeshConfig, model: Model, batch: int, cut: int
) -> str | None:
  if batch % (mesh.data * mesh.fsdp * cut):
    return f"data x fsdp x microbatches do not divide the batch of {batch}"
  return meshes.objection(mesh, model, batch, cut)


def _linked(mesh: MeshConfig, place: Slice) -> str | None:
  try:
    sharding.make_mesh(mesh, place.devices)
  except UserError:
    return "the links of these chips have no such mesh"
  return None


def is_fixed(planned: Planned) -> bool:
  """Whether a mesh was given, other than that several are to be tried."""
  named = bool({"mesh", *MESHES} & planned.given)
  return planned.mesh is not None and named


def command(planned: Planned, best: Candidate) -> str:
  """The offalign train command of a plan.

  Args:
    planned: what was planned.
    best: how to run it.
  """
  run = dataclasses.replace(
    planned.run,
    mesh=best.mesh,
    microbatches=best.microbatches,
    remat=best.remat,
  )
  model = run.model and pathlib.Path(run.model).expanduser()
  if model and model.is_file():  # training takes the folder
    run = dataclasses.replace(run, model=str(model.parent))
  usual, known = options(Config()), options(run)
  changed = {k: v for k, v in known.items() if v != usual.get(k)}
  sizes = {f"mesh.{axis}": getattr(best.mesh, axis) for axis in AXES}
  changed |= {k: v for k, v in sizes.items() if v != 1 or k == "mesh.data"}
  for name, word in _PLACES.items():
    changed.setdefault(name, word)
  words = [
    f"--cfg.{name}={_text(value)}" for name, value in sorted(changed.items())
  ]
  return " \\\n  ".join(["offalign train", *map(shlex.quote, words)])


def _text(value: object) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)
