"""Checkpoints: orbax, with policy, value and optimiser as separate items.

A checkpoint directory that was not completed is ignored by orbax; the newest
complete one is what a run resumes from.
"""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from offalign.errors import UserError
from offalign.learner import TrainState
from offalign.types import Params


class Checkpoints:
  """The checkpoints of one run folder.

  Use as a context manager: leaving it waits for the last save.
  """

  def __init__(self, folder: str | pathlib.Path, keep: int = 3):
    """Opens (and creates) `folder`/checkpoints."""
    self._path = pathlib.Path(folder).absolute() / "checkpoints"
    self._manager = ocp.CheckpointManager(
      self._path,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, cleanup_tmp_directories=True
      ),
    )

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *error: object) -> None:
    self._manager.wait_until_finished()
    self._manager.close()

  @property
  def latest(self) -> int | None:
    """The step of the newest complete checkpoint."""
    return self._manager.latest_step()

  def save(self, state: TrainState, about: dict[str, Any]) -> None:
    """Writes the state; `about` is kept beside it as JSON.

    Saving a step that is there already does nothing.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    items = {
      name: ocp.args.StandardSave(tree) for name, tree in _items(state).items()
    }
    self._manager.save(
      step,
      args=ocp.args.Composite(**items, about=ocp.args.JsonSave(about)),
    )

  def about(self) -> dict[str, Any]:
    """What `save` was given beside the newest state."""
    restored = self._manager.restore(
      self.latest, args=ocp.args.Composite(about=ocp.args.JsonRestore())
    )
    return restored["about"]

  def restore(self, template: TrainState) -> TrainState:
    """Reads the newest state into the shapes and shardings of `template`.

    Raises:
      UserError: where the checkpoint holds other tensors.
    """
    shapes = _items(template)
    read = self._read(shapes)
    params = {k: read[k] for k in ("policy", "value") if k in read}
    step = jax.device_put(read["progress"]["step"], template.step.sharding)
    return TrainState(step, params, read["opt_state"])

  def restore_policy(self, template: Params) -> Params:
    """Reads the newest policy alone, to start another run from.

    Raises:
      UserError: where the checkpoint holds other tensors.
    """
    return self._read({"policy": template})["policy"]

  def _read(self, shapes: dict[str, Any]) -> dict[str, Any]:
    args = {
      name: ocp.args.StandardRestore(tree) for name, tree in shapes.items()
    }
    try:
      return dict(
        self._manager.restore(self.latest, args=ocp.args.Composite(**args))
      )
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(
        f"the checkpoint at step {self.latest} in {self._path} does not fit "
        f"this model ({str(error).splitlines()[0]}); give the model it was "
        "made with, or another folder"
      ) from error


def _items(state: TrainState) -> dict[str, Any]:
  return {
    **state.params,
    "opt_state": state.opt_state,
    "progress": {"step": state.step},
  }
