"""The run that a plan is of: its own short flags, joined with training's.

`--batch=64` is `--cfg.batch_size=64`: a plan takes both, and refuses them
where they differ.
"""

import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Any

from offalign import losses, spec, user_code
from offalign.config import Config
from offalign.config import reference as reference_config
from offalign.config.config import check, flat
from offalign.distributed.sharding import AXES, MeshConfig
from offalign.errors import UserError, concerning, option
from offalign.models.lora import LoraConfig
from offalign.planning.program import PlanConfig, Step, completions
from offalign.policy import reference as other_reference
from offalign.training.rounds import checks as rounds_checks
from offalign.training.rounds import schedule
from offalign.training.run import learner_config
from offalign.training.selection import keeping

TWINS = {
  "model": "model",
  "loss": "loss",
  "imports": "imports",
  "batch": "batch_size",
  "prompt": "data.max_prompt",
  "completion": "data.max_completion",
  "microbatches": "microbatches",
  "compute_dtype": "compute_dtype",
  "optimizer": "optimizer.name",
  "value": "value.network",
  "lora.rank": "lora.rank",
  "lora.alpha": "lora.alpha",
  "lora.targets": "lora.targets",
}
"""Short flag of a plan -> the option of a run that it sets."""

ALONE: Mapping[str, Any] = {
  "compute_dtype": "bfloat16",
  "data.max_prompt": 512,
  "data.max_completion": 256,
}
"""Defaults of a plan that is given no option of a run; others are a run's."""

MESHES = {*(f"mesh.{axis}" for axis in AXES), "mesh.auto"}
"""The options of a run that are the plan's `mesh`."""

IDLE = {
  "out",
  "steps",
  "epochs",
  "seed",
  "log_every",
  "eval_every",
  "eval_samples",
  "save_every",
  "keep",
  "keep_best",
  "compile_cache",
  "profile",
  "on_divergence",
  "reference",
  "reference_step",
}
"""Options of a run that change nothing of what its train step takes."""

_REFERENCES = {"reference", "reference_step"}
"""Those of them that change a step which runs the reference."""

_IDLE_GROUPS = ("data.", "select.", "grow.", "hosts.")
_ADAPTERS = ("rank", "alpha", "targets")


@dataclasses.dataclass(frozen=True)
class Planned:
  """What is to be planned.

  Attributes:
    run: the options of the run, with those of the short flags.
    step: its train step.
    mesh: how the devices are arranged; None = try several meshes.
    given: options of the run that were given, by either name.
  """

  run: Config
  step: Step
  mesh: MeshConfig | str | None
  given: frozenset[str]

  @property
  def idle(self) -> list[str]:
    """Options of the run that were given and change nothing of the step."""
    return sorted(
      name
      for name in self.given - set(TWINS.values())
      if name in self._idle or name.startswith(_IDLE_GROUPS)
    )

  @property
  def _idle(self) -> set[str]:
    runs = losses.get(self.step.loss).runs_reference
    return IDLE - (_REFERENCES if runs else set())

  def __str__(self) -> str:
    """What is planned in a line, apart from the chips."""
    step, run = self.step, self.run
    parts = [
      run.model or (f"of {run.init}" if run.init else "a new model"),
      step.loss,
      run.optimizer.name,
      run.compute_dtype,
      f"batch {step.batch} x ({step.prompt} + {step.completion})",
    ]
    if run.lora is not None:
      parts.append(f"LoRA of rank {run.lora.rank}")
    if run.remat != "none":
      parts.append(f"remat {run.remat}")
    if run.microbatches > 1:
      parts.append(f"{run.microbatches} microbatches")
    return ", ".join(parts)


def together(
  config: PlanConfig,
  run: Config | None = None,
  given: Collection[str] | None = None,
  short: Collection[str] | None = None,
) -> Planned:
  """Joins the short flags of a plan with the options of a run.

  Args:
    config: the short flags.
    run: the options of a run; None = none were given.
    given: names of those that were, with dots; default: those that are not at
      their defaults.
    short: short flags that were given, likewise.

  Raises:
    UserError: for what differs from its twin, or that a run would refuse
      before it reads data.
  """
  own = _short(config, short)
  if run is None:
    theirs, changes = {}, dict(ALONE)
  else:
    known = options(run)
    if given is None:
      usual = options(Config())
      given = [name for name in known if known[name] != usual.get(name)]
    theirs, changes = {name: known[name] for name in given}, {}
  for name, value in own.items():
    twin = TWINS[name]
    if twin in theirs and theirs[twin] != value:
      raise UserError(
        f"{option(name, value)} is set beside "
        f"{option(f'cfg.{twin}', theirs[twin])}, and both are one option; give "
        "one of them"
      )
    changes[twin] = value
  mesh = _mesh(config, run, theirs)
  found = run or Config()
  if config.lora is not None and found.lora is None:
    found = dataclasses.replace(found, lora=config.lora)
  for name, value in changes.items():
    found = _set(found, name, value)
  found = _checked(found)
  step = Step(
    loss=found.loss,
    learner=learner_config(found),
    batch=found.batch_size,
    prompt=found.data.max_prompt,
    completion=found.data.max_completion,
    k=completions(found.loss, config.group_size),
    demonstrations=_demonstrations(found),
    moves=reference_config.parse(found.reference).moves,
  )
  reached = {*theirs, *(TWINS[name] for name in own)}
  if config.mesh is not None:
    reached.add("mesh")
  return Planned(found, step, mesh, frozenset(reached))


def _demonstrations(run: Config) -> int | None:
  """How many demonstrations a step imitates; None = none."""
  if run.ptx is None:
    return None
  return run.ptx.batch_size or run.batch_size


def _short(config: PlanConfig, short: Collection[str] | None) -> dict[str, Any]:
  """The short flags that were given."""
  own = {
    name: getattr(config, name)
    for name in TWINS
    if "." not in name and getattr(config, name) is not None
  }
  for name in ("batch", "prompt", "completion", "microbatches"):
    if own.get(name, 1) < 1:
      raise UserError(f"{option(name)} must be at least 1, not {own[name]}")
  if config.lora is not None:
    usual = LoraConfig()
    for field in _ADAPTERS:
      name, value = f"lora.{field}", getattr(config.lora, field)
      if value != getattr(usual, field) or name in (short or ()):
        own[name] = value
  return own


def _mesh(
  config: PlanConfig, run: Config | None, theirs: Mapping[str, Any]
) -> MeshConfig | str | None:
  """The mesh; a text is still to be parsed, None = try several."""
  shapes = sorted(MESHES & set(theirs))
  if config.mesh is None:
    return "fsdp" if run is None else run.mesh
  if shapes and (config.mesh == "auto" or "mesh.auto" in shapes):
    raise two_meshes(config.mesh, shapes[0], theirs[shapes[0]])
  return None if config.mesh == "auto" else config.mesh


def two_meshes(mesh: str, name: str, value: Any) -> UserError:
  """The error for a short flag and flags of training that differ.

  Args:
    mesh: the short flag.
    name: one of the options of a run.
    value: of that option.
  """
  return UserError(
    f"{option('mesh', mesh)} is set beside {option(f'cfg.{name}', value)}, and "
    "they are not one mesh; give one of them"
  )


def _checked(run: Config) -> Config:
  """Checks what a run would before it reads data; returns its options."""
  user_code.load_all(run.imports)
  with concerning(option("loss")):
    loss = losses.get(run.loss)
  run = keeping(run)
  check(dataclasses.replace(run, out=run.out or "."))  # a plan needs none
  choice = reference_config.parse(run.reference)
  other_reference.check(run, choice, loss)
  if run.grow is not None:
    run = schedule.resolve(run)
    rounds_checks.check(run, loss)
  for name in ("max_prompt", "max_completion"):
    if getattr(run.data, name) < 1:
      raise UserError(
        f"{option(f'data.{name}')} must be at least 1, not "
        f"{getattr(run.data, name)}"
      )
  if run.packing:
    raise UserError(
      f"{option('packing', 'true')} has no plan: the shape of packed rows "
      "follows from the lengths in the data, which a plan does not read. Leave "
      "it out: rows that are all of the longest prompt and completion, which "
      "are then planned, have more tokens than packed ones"
    )
  return run


def options(run: Config) -> dict[str, Any]:
  """Dotted option -> value, those of `hosts` too; groups that are None not."""
  found = {k: v for k, v in flat(run).items() if not _is_group(k)}
  if run.hosts is not None:
    found |= {f"hosts.{k}": v for k, v in vars(run.hosts).items()}
  return found


def _is_group(name: str) -> bool:
  hints = typing.get_type_hints(Config)
  return name in hints and _group(hints[name]) is not None


def _group(hint: Any) -> Any:
  kinds = spec.alternatives(hint)
  return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)


def _set(run: Config, name: str, value: Any) -> Config:
  """A run with another value of an option; its group is made where absent."""
  group, _, field = name.rpartition(".")
  if not group:
    return dataclasses.replace(run, **{field: value})
  inner = getattr(run, group)
  if inner is None:
    inner = _group(typing.get_type_hints(Config)[group])()
  return dataclasses.replace(
    run, **{group: dataclasses.replace(inner, **{field: value})}
  )
