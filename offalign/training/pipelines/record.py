"""pipeline.json: the stages of a pipeline, and what became of each."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from offalign.errors import UserError, option
from offalign.files import read_object, write_json

FILE = "pipeline.json"
"""In the folder of the pipeline."""

State = Literal["waiting", "done", "failed"]

_CURE = "; put the file back, or name another folder"


@dataclasses.dataclass(frozen=True)
class Known:
  """What is known of a stage.

  Attributes:
    name: of its folder, such as "1-sft".
    command: that trains it alone; it has all its options.
    config: its options, flat.
    state: what became of it.
    why: a sentence, of one that failed.
  """

  name: str
  command: str
  config: Mapping[str, Any]
  state: State = "waiting"
  why: str = ""


@dataclasses.dataclass
class Pipeline:
  """A pipeline's folder and its stages.

  Attributes:
    folder: of the pipeline; each stage is a run in a folder there.
    name: of the pipeline, such as "rlhf".
    stages: in their order.
  """

  folder: pathlib.Path
  name: str
  stages: list[Known]

  @property
  def done(self) -> list[str]:
    """The names of the stages that are trained."""
    return [stage.name for stage in self.stages if stage.state == "done"]

  def path(self, name: str) -> pathlib.Path:
    """The run folder of a stage."""
    return self.folder / name

  @property
  def last(self) -> pathlib.Path:
    """The run folder of the last stage, whose policy is the result."""
    return self.path(self.stages[-1].name)

  def note(self, number: int, state: State, why: str = "") -> None:
    """Notes what became of a stage, counted from 0, and writes the file.

    Raises:
      Unwritten: where it cannot be written.
    """
    stage = self.stages[number]
    self.stages[number] = dataclasses.replace(stage, state=state, why=why)
    self.write()

  def write(self) -> None:
    """Writes the file.

    Raises:
      Unwritten: where it cannot be written.
    """
    about = {
      "pipeline": self.name,
      "stages": [dataclasses.asdict(stage) for stage in self.stages],
    }
    write_json(self.folder / FILE, about)


def read(folder: pathlib.Path) -> Pipeline | None:
  """Reads the file of a folder; None where there is none.

  Raises:
    UserError: where it is not what a pipeline writes.
  """
  path = folder / FILE
  if not path.exists():
    return None
  found = read_object(path, _CURE)
  try:
    return Pipeline(
      folder, str(found["pipeline"]), [_known(x) for x in found["stages"]]
    )
  except (KeyError, TypeError, ValueError, AttributeError):
    raise UserError(f"{path} is not what a pipeline writes{_CURE}") from None


def begin(folder: pathlib.Path, name: str, stages: Sequence[Known]) -> Pipeline:
  """The record of a pipeline that begins or goes on; writes nothing.

  Args:
    folder: of the pipeline.
    name: of the pipeline.
    stages: with their options of now, waiting.

  Raises:
    UserError: see `read`; or where the folder holds another pipeline.
  """
  before = read(folder)
  if before is None:
    return Pipeline(folder, name, list(stages))
  named = [stage.name for stage in stages]
  known = [stage.name for stage in before.stages]
  if (before.name, known) != (name, named):
    raise UserError(
      f"{folder} holds pipeline {before.name} ({', '.join(known)}), and this "
      f"is {name} ({', '.join(named)}): name another {option('out')}"
    )
  return Pipeline(
    folder,
    name,
    [
      dataclasses.replace(now, state=old.state, why=old.why)
      if old.config == now.config
      else now
      for now, old in zip(stages, before.stages, strict=True)
    ],
  )


def _known(found: Mapping[str, Any]) -> Known:
  state = found["state"]
  if state not in get_args(State):
    raise ValueError(state)
  return Known(
    str(found["name"]),
    str(found["command"]),
    dict(found["config"]),
    state,
    str(found["why"]),
  )
