"""Checkpoints: orbax, with policy, value and optimiser as separate items.

A run resumes from the newest complete checkpoint; orbax ignores a directory
that was not completed. Besides the state, a checkpoint has the metrics of the
steps since the last logged line, so that a run may stop anywhere and still
log the same means.
"""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from offalign.errors import UserError, option
from offalign.files import Unwritten, unwritten, writing
from offalign.learner import TrainState
from offalign.policy import damage, noise
from offalign.policy.best import Best
from offalign.policy.damage import Damaged
from offalign.types import Params

DAMAGED = "damaged"
"""The folder of a run folder that holds checkpoints that cannot be read."""


class Checkpoints:
  """The checkpoints of one run folder.

  Use as a context manager: leaving it waits for the last save.
  """

  def __init__(
    self,
    folder: str | pathlib.Path,
    keep: int | None = None,
    best: Best | None = None,
  ):
    """Opens `folder`/checkpoints.

    Args:
      folder: the run folder.
      keep: how many of the newest checkpoints to keep; None = read only, and
        leave the folder untouched, since its run may still be going on.
      best: decides which checkpoint is best, and to be kept too.

    Raises:
      UserError: where a checkpoint does not say what it is.
    """
    noise.silence()
    self._path = pathlib.Path(folder).absolute() / "checkpoints"
    options = ocp.CheckpointManagerOptions(create=False)
    if keep is not None:
      options = ocp.CheckpointManagerOptions(
        preservation_policy=_Keep(keep, best), cleanup_tmp_directories=True
      )
    with damage.opening(self._path):
      self._manager = ocp.CheckpointManager(self._path, options=options)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *error: object) -> None:
    try:
      self.wait()
      self._manager.close()
    except Exception:
      if error[0] is None:  # else that one says why
        raise

  def wait(self) -> None:
    """Waits until all that was saved is on the disk.

    Raises:
      Unwritten: where it cannot be written.
    """
    with self._written():
      self._manager.wait_until_finished()

  @property
  def latest(self) -> int | None:
    """The step of the newest complete checkpoint."""
    return self._manager.latest_step()

  @property
  def steps(self) -> list[int]:
    """The steps of all complete checkpoints."""
    return sorted(self._manager.all_steps())

  def save(
    self,
    state: TrainState,
    about: dict[str, Any],
    window: Sequence[dict[str, float]] = (),
  ) -> None:
    """Writes the state, without waiting for the disk.

    Saving a step that is there already does nothing.

    Args:
      state: the state.
      about: JSON to keep beside the state.
      window: metrics of the steps since the last logged line.

    Raises:
      Unwritten: where this state, or the one before, cannot be written.
    """
    self.wait()
    items = {
      name: ocp.args.StandardSave(tree) for name, tree in _items(state).items()
    }
    with self._written():
      self._manager.save(
        int(state.step),
        args=ocp.args.Composite(
          **items,
          about=ocp.args.JsonSave(about),
          window=ocp.args.JsonSave(list(window)),
        ),
      )

  @contextlib.contextmanager
  def _written(self) -> Iterator[None]:
    """Says what cannot be written, in place of any library's error."""
    try:
      yield
    except jax.errors.JaxRuntimeError:
      raise  # no fault of the disk: another process has gone, say
    except Exception as error:
      raise Unwritten(unwritten(self._path, error)) from error

  def about(self) -> dict[str, Any]:
    """The `about` that `save` wrote with the newest state.

    Raises:
      UserError: where the checkpoint is damaged.
    """
    return self._json("about", damage.is_object)

  def window(self, step: int | None = None) -> list[dict[str, float]]:
    """The metrics that `save` wrote with a state; default: the newest.

    Raises:
      Damaged: where they cannot be read.
    """
    return self._json("window", damage.are_metrics, step)

  def _json(
    self, name: str, fits: Callable[[Any], bool], step: int | None = None
  ) -> Any:
    step = self.latest if step is None else step
    args = ocp.args.Composite(**{name: ocp.args.JsonRestore()})
    with damage.reading(self._path, step):
      found = self._manager.restore(step, args=args)[name]
      if not fits(found):
        raise ValueError(f"its {name!r} is not what a run writes")
    return found

  def restore_whole(
    self, template: TrainState
  ) -> tuple[TrainState, list[dict[str, float]], dict[int, str]]:
    """Reads the newest checkpoint that can be read.

    Newer ones that are damaged are moved to `DAMAGED` in the run folder, so
    that the run goes on from this one.

    Args:
      template: as of `restore`.

    Returns:
      The state, its window, and the steps that were moved, with the reason.

    Raises:
      Damaged: of the newest, where none can be read; nothing is moved then.
      UserError: as `restore`.
    """
    damaged: dict[int, Damaged] = {}
    for step in reversed(self.steps):
      try:
        state, window = self.restore(template, step), self.window(step)
        break
      except Damaged as error:
        damaged[step] = error
        if jax.process_count() > 1:
          raise  # the others may be able to read it
    else:
      raise next(iter(damaged.values()))
    moved = {old: self._set_aside(old, error) for old, error in damaged.items()}
    if moved:
      self._manager.reload()
    return state, window, moved

  def _set_aside(self, step: int, error: Damaged) -> str:
    """Moves a checkpoint out of the way; returns a sentence."""
    place = self._path.parent / DAMAGED
    names = (f"{step}-{n}" if n > 1 else str(step) for n in itertools.count(1))
    aside = next(place / n for n in names if not (place / n).exists())
    with writing(aside):
      place.mkdir(exist_ok=True)
      (self._path / str(step)).replace(aside)
    reason = str(error.__cause__).splitlines()[0][:200]
    return (
      f"the checkpoint at step {step} is damaged ({reason}) and is kept in "
      f"{aside}"
    )

  def restore(
    self, template: TrainState, step: int | None = None
  ) -> TrainState:
    """Reads a state into the shapes and shardings of `template`.

    Args:
      template: a state of the same model and options.
      step: default: the newest.

    Raises:
      UserError: where the checkpoint holds other tensors.
      Damaged: where it cannot be read.
    """
    read = self._read(self.latest if step is None else step, _items(template))
    params = {k: read[k] for k in ("policy", "value") if k in read}
    made = jax.device_put(read["progress"]["step"], template.step.sharding)
    return TrainState(
      made, params, read["opt_state"], read.get("loss_state", {})
    )

  def restore_policy(self, template: Params, step: int | None = None) -> Params:
    """Reads a policy alone, to start another run from.

    Args:
      template: shapes and shardings.
      step: default: the newest.

    Raises:
      UserError: where the checkpoint holds other tensors.
    """
    return self.restore_params({"policy": template}, step)["policy"]

  def restore_params(
    self, template: dict[str, Params], step: int | None = None
  ) -> dict[str, Params]:
    """Reads policy and value without the optimiser's state.

    Args:
      template: "policy", "value" or both -> shapes and shardings.
      step: default: the newest.

    Raises:
      UserError: where the checkpoint holds other tensors.
    """
    return self._read(self.latest if step is None else step, template)

  def _read(self, step: int | None, trees: dict[str, Any]) -> dict[str, Any]:
    for name in ("policy", "value"):
      if name in trees:
        self._check_shapes(step, name, trees[name])
    args = {
      name: ocp.args.StandardRestore(tree) for name, tree in trees.items()
    }
    with damage.reading(self._path, step):
      return dict(self._manager.restore(step, args=ocp.args.Composite(**args)))

  def _check_shapes(self, step: int | None, name: str, tree: Params) -> None:
    """Checks shapes before orbax does, whose own error is hard to read."""
    where = self._path / str(step) / name
    try:
      with damage.quietly():
        stored = ocp.StandardCheckpointHandler().metadata(epath.Path(where))
      found, wanted = _shapes(stored.tree), _shapes(tree)
    except Exception:  # damage takes many forms
      return  # the restore will say what is wrong with the files
    for leaf in sorted({*found, *wanted}):
      if found.get(leaf) != wanted.get(leaf):
        raise UserError(
          f"the checkpoint at step {step} in {self._path} is of "
          f"another model: its {name}{leaf} is {found.get(leaf, 'absent')}, "
          f"this model's {wanted.get(leaf, 'absent')}; give the model it was "
          "made with, or another folder"
        )


def choose(folder: pathlib.Path, which: str, keep_best: str | None) -> int:
  """Finds the step that "newest", "best" or a number stands for.

  Args:
    folder: a run folder with a checkpoint.
    which: "newest", "best" or a number.
    keep_best: the run's keep_best.

  Raises:
    UserError: where there is no such checkpoint.
  """
  with Checkpoints(folder) as checkpoints:
    steps = checkpoints.steps
  if which == "newest":
    return steps[-1]
  if which == "best":
    if keep_best is None:
      raise UserError(
        f"{folder} was trained without {option('keep_best')}, so none of its "
        f"checkpoints is known to be best: name a step ({_listed(steps)})"
      )
    found = Best(folder, keep_best).among(steps)
    if found is None:
      raise UserError(f"no checkpoint of {folder} was evaluated yet")
    return found
  if not which.isdecimal() or int(which) not in steps:
    raise UserError(
      f"{folder} has no checkpoint {which!r} (there is: {_listed(steps)}, "
      "newest, best)"
    )
  return int(which)


def _listed(steps: list[int]) -> str:
  return ", ".join(map(str, steps))


@dataclasses.dataclass(frozen=True)
class _Keep(checkpoint_managers.PreservationPolicy):
  """Preserves the newest checkpoints, and the best."""

  newest: int
  best: Best | None

  def should_preserve(
    self,
    checkpoints: Sequence[checkpoint_managers.PolicyCheckpointInfo],
    *,
    context: checkpoint_managers.PreservationContext,
  ) -> list[bool]:
    """Whether to preserve each checkpoint, in the order of their steps."""
    steps = [checkpoint.step for checkpoint in checkpoints]
    kept: set[int | None] = set(steps[-self.newest :])
    if self.best is not None:
      kept.add(self.best.among(steps))
    return [step in kept for step in steps]


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path): tuple(x.shape) for path, x in leaves}


def _items(state: TrainState) -> dict[str, Any]:
  return {
    **state.params,
    "progress": {"step": state.step},
    # An empty tree cannot be written.
    **({"opt_state": state.opt_state} if state.opt_state else {}),
    **({"loss_state": state.loss_state} if state.loss_state else {}),
  }
