"""The stages of a pipeline: which options each run has, and its command.

Options are flat here: a name with dots, such as "data.path" -> its value.
"""

import dataclasses
import json
import pathlib
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from offalign.config import Config, arguments
from offalign.config.config import flat
from offalign.data.reading.memory import Rows, as_path
from offalign.errors import UserError, concerning, option, suggest, within
from offalign.training.pipelines.recipes import (
  REWARD_MODEL,
  SFT,
  Recipe,
  StageRecipe,
)

_START = (
  "model",
  "model_ignore",
  "tokenizer",
  "tokenizer_vocab",
  "init",
  "init_step",
)
"""Options of what a run starts from: for stages that begin with no other."""

_OF_DATA = (
  "epochs",
  "packing",
  "data.path",
  "data.eval_path",
  "data.form",
  "data.columns",
  "data.int_labels",
  "data.bad_rows",
  "data.vanished",
)
"""Options that stages on samples do not read."""

_LENGTH = ("grow.rounds", "grow.every", "steps")
"""Options of which two give the third."""

_OF_REFERENCE = ("reference", "reference_step")
_GROW, _PTX = "grow.", "ptx."


@dataclasses.dataclass(frozen=True)
class Stage:
  """One run of a pipeline.

  Attributes:
    name: of the stage, such as "sft".
    what: what it does, in some words.
    options: of its run, all that are not left at their defaults.
    own: the names of those that were given to this stage alone.
    config: the same as a configuration.
  """

  name: str
  what: str
  options: Mapping[str, Any]
  own: frozenset[str]
  config: Config

  @property
  def folder(self) -> pathlib.Path:
    """The run folder."""
    return pathlib.Path(self.config.out)

  @property
  def command(self) -> str:
    """The command that trains this stage alone."""
    values = flat(self.config)
    words = []
    for name in self.options:
      value = values[name]
      text = str(value).lower() if isinstance(value, bool) else str(value)
      words.append(f"--cfg.{name}={shlex.quote(text)}")
    return " ".join(["offalign train", *words])

  @contextmanager
  def speaking(self) -> Iterator[None]:
    """Has a mistake name the stage, and options as they were given."""
    names = {name: f"{self.name}.{name}" for name in self.own}
    with concerning(f"stage {self.name}"), within(**names):
      yield


def plan(
  recipe: Recipe,
  out: str,
  shared: Mapping[str, Any],
  own: Mapping[str, Mapping[str, Any]],
) -> list[Stage]:
  """Says which options each stage has.

  An option that is given to a stage goes before one that is given to all, and
  that before what the pipeline has.

  Args:
    recipe: the pipeline.
    out: its folder.
    shared: options of all stages.
    own: stage -> options of that stage alone.

  Raises:
    UserError: for an option that no stage would read, or that cannot be.
  """
  _refuse(recipe, out, shared, own)
  chosen = [x for x in recipe.stages if not _is_spared(x, recipe, shared, own)]
  folders = {
    each.name: f"{out}/{number}-{each.name}"
    for number, each in enumerate(chosen, 1)
  }
  made = []
  for each in chosen:
    mine = own.get(each.name, {})
    given = _shared(each, shared) | dict(mine)
    options = _defaults(each, given, folders, shared, own) | given
    options["out"] = folders[each.name]
    known = frozenset(mine)
    stage = Stage(each.name, each.what, options, known, Config())
    with stage.speaking():
      config = arguments.read(_nested(options))
    made.append(dataclasses.replace(stage, config=config))
  return made


def _is_spared(
  each: StageRecipe,
  recipe: Recipe,
  shared: Mapping[str, Any],
  own: Mapping[str, Mapping[str, Any]],
) -> bool:
  """Whether it is the reward model, and something else gives the scores."""
  if each.name != REWARD_MODEL:
    return False
  score = f"{_GROW}score"
  last = recipe.stages[-1].name
  return score in shared or score in own.get(last, {})


def _shared(each: StageRecipe, shared: Mapping[str, Any]) -> dict[str, Any]:
  """The options of all that this stage reads."""
  found = {}
  for name, value in shared.items():
    of_rounds = name.startswith((_GROW, _PTX)) or name in _OF_REFERENCE
    if of_rounds and not each.rounds:
      continue
    if name in _OF_DATA and each.rounds:
      continue
    if name in _START and each.name != SFT:
      continue
    found[name] = value
  return found


def _defaults(
  each: StageRecipe,
  given: Mapping[str, Any],
  folders: Mapping[str, str],
  shared: Mapping[str, Any],
  own: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """What a stage has where nothing is given."""
  found = dict(each.options)
  if each.name != SFT and not {"init", "model"} & set(given):
    found["init"] = folders[SFT]
  if not each.rounds:
    return found
  for name in _LENGTH:
    known = {n for n in _LENGTH if n in found or n in given}
    if len(known) == len(_LENGTH) and name not in given:
      found.pop(name, None)
  if f"{_GROW}score" not in given:
    found[f"{_GROW}score"] = _scored_by(folders[REWARD_MODEL])
  path = own.get(SFT, {}).get("data.path", shared.get("data.path"))
  asked = any(name.startswith(_PTX) for name in given)
  if asked and f"{_PTX}path" not in given and path is not None:
    found[f"{_PTX}path"] = path  # what the stage before imitated
  if not {f"{_GROW}prompts", "data.path"} & set(given) and path is not None:
    found[f"{_GROW}prompts"] = _prompts(each, path)
  return found


def _scored_by(folder: str) -> str:
  """The spec of a run's reward model; in quotes that a shell keeps."""
  quoted = json.dumps(folder, ensure_ascii=False)
  return f"reward_model(run={quoted})"


def _prompts(each: StageRecipe, path: Any) -> Any:
  """The prompts of the data, where they can be read from it.

  Raises:
    UserError: where they cannot.
  """
  if isinstance(path, Rows) or pathlib.Path(path).suffix in (".jsonl", ".json"):
    return path
  raise UserError(
    f"stage {each.name} completes prompts, which are read from JSON lines with "
    f"'prompt', and {path} is something else: give "
    f"{option(f'{each.name}.grow.prompts')}"
  )


def _refuse(
  recipe: Recipe,
  out: str,
  shared: Mapping[str, Any],
  own: Mapping[str, Mapping[str, Any]],
) -> None:
  """Refuses what no stage reads."""
  if not out:
    raise UserError(
      f"{option('out')} is missing: name the folder of the pipeline"
    )
  names = [each.name for each in recipe.stages]
  if "loss" in shared:
    raise UserError(
      f"{option('loss', shared['loss'])} is set, and each stage has a loss of "
      f"its own: leave it out, or give {option(f'{names[-1]}.loss')}"
    )
  for stage, options in own.items():
    if not options:
      continue
    first = option(f"{stage}.{next(iter(options))}")
    if stage not in names:
      raise UserError(
        f"{first} is set, and pipeline {recipe.name} has no stage {stage!r}"
        f"{suggest(stage, names)} (its stages: {', '.join(names)})"
      )
    each = recipe.stages[names.index(stage)]
    if _is_spared(each, recipe, shared, own):
      raise UserError(
        f"{first} is set, but no reward model is trained, since "
        f"{option(f'{_GROW}score')} is given; leave one of them out"
      )
    if "out" in options:
      raise UserError(
        f"{option(f'{stage}.out')} is set, and stages are in folders of "
        f"{option('out')}; leave it out"
      )
  for stage, options in {"": shared, **own}.items():
    for name in options:
      if name == "hosts" or name.startswith("hosts."):
        raise UserError(
          f"{option(f'{stage}.{name}'.lstrip('.'))} is set, but a pipeline "
          "runs in one process: leave it out"
        )


def flatten(options: Mapping[str, Any]) -> dict[str, Any]:
  """Options in groups, as `Run` takes them, with dots in their names.

  Raises:
    UserError: for rows that are none.
  """
  found: dict[str, Any] = {}
  for name, value in options.items():
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
      value = _changed(value)
    elif name == "data" and not isinstance(value, Mapping):
      value = {"path": value}
    if isinstance(value, Mapping):
      found |= {f"{name}.{inner}": each for inner, each in value.items()}
    else:
      found[name] = value
  if found.get("data.path") is not None:
    found["data.path"] = as_path(found["data.path"])  # for prompts too
  return found


def _changed(group: Any) -> dict[str, Any]:
  """The fields of a group of options that are not at their defaults."""
  return {
    field.name: getattr(group, field.name)
    for field in dataclasses.fields(group)
    if getattr(group, field.name) != field.default
  }


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
  """Options with dots in their names, in groups."""
  found: dict[str, Any] = {}
  for name, value in options.items():
    group, _, inner = name.rpartition(".")
    if group:
      found.setdefault(group, {})[inner] = value
    else:
      found[name] = value
  return found
