"""Go on with a run that was begun before: what it owes, what must be the same.

A run folder that a run finds belongs to it only where the files behind its
options are those that it was begun with.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

from offalign.config import Config
from offalign.distributed import hosts
from offalign.errors import OPTIONS, UserError, option
from offalign.policy.folder import PREFIX, read_metrics
from offalign.training.loop import is_due
from offalign.training.rounds.stopping import Stopping

_FILES = (
  ("model", "another model"),
  ("vocab_size", "another vocabulary"),
  ("tokenizer", "another tokenizer"),
  ("start", "another starting policy"),
  ("reference", "another reference"),
  ("data", "other data"),
  ("demonstrations", "other demonstrations"),
)
"""Keys of run.json that files decide, and what is said of another value."""


def refuse_other_files(
  folder: pathlib.Path, known: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
  """Refuses a run folder that was begun with other files.

  Args:
    folder: the run folder.
    known: its run.json.
    now: what would be written there now.

  Raises:
    UserError: naming what differs.
  """
  for key, what in _FILES:
    # A version without another reference had the start for it.
    absent = known["start"] if key == "reference" else None
    before = known.get(key, absent)
    if before != now[key]:
      raise UserError(
        f"{folder} was begun with {what} ({before}, now {now[key]}): the files "
        f"behind its {OPTIONS} have changed; put them back, or name another "
        f"{option('out')}"
      )


def owes_evaluation(
  folder: pathlib.Path, config: Config, step: int, *, is_held: bool
) -> bool:
  """Whether the state after a step was to be evaluated, and was not.

  Args:
    folder: the run folder.
    config: of the run.
    step: that the run goes on after; 0 = it begins.
    is_held: whether anything is held out.
  """
  if step == 0:
    return True
  select = config.select
  due = is_held and is_due(step, config.eval_every, config)
  if select is not None:
    due = due or is_due(step, select.every, config)
  if not due or step > config.last_step:
    return False
  return hosts.anywhere(not _was_evaluated(folder, step))


def _was_evaluated(folder: pathlib.Path, step: int) -> bool:
  """Whether held-out metrics of a step were logged."""
  return any(
    name.startswith(PREFIX)
    for line in read_metrics(folder)
    if line["step"] == step
    for name in line
  )


def finished(
  folder: pathlib.Path, config: Config, step: int, stopping: Stopping | None
) -> str | None:
  """Says that a run has nothing to do, marked; None where it goes on.

  Args:
    folder: the run folder.
    config: of the run.
    step: that it would go on after.
    stopping: with the scores up to there, where they may end a run.
  """
  if step >= config.last_step:
    return (
      f"nothing to do: {folder} is at step {step} of {config.last_step}; a "
      f"larger {option('steps')} goes on from there"
    )
  if stopping is not None and stopping.has_fallen:
    return (
      f"nothing to do: {folder} ended early. {stopping.sentence}; a larger "
      "one goes on from there"
    )
  return None
