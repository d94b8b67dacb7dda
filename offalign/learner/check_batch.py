"""Checks that a batch has the columns and shapes that a loss needs."""

import numpy as np

from offalign.errors import UserError
from offalign.losses import Loss
from offalign.types import Batch, Kind


def check_batch(loss: Loss, batch: Batch) -> None:
  """Refuses a batch that would fail, or be broadcast in silence.

  Args:
    loss: the loss to compute; its `needs` say which columns are required.
    batch: arrays on the host or on the devices.

  Raises:
    UserError: for a column that is missing or of a wrong shape or type, a
      wrong K, or too few prompts.
  """
  k = batch.completions.shape[1]
  name = str(loss)
  if loss.kind is Kind.PAIR and k != 2:
    raise UserError(
      f"loss {name!r} takes pairs (K = 2), but the batch has K = {k}"
    )
  if loss.kind is Kind.GROUP and k < 2:
    raise UserError(
      f"loss {name!r} compares the completions of a prompt, but the batch "
      "has one completion a prompt; give it groups (K >= 2)"
    )
  _check_columns(loss, batch)
  rows = int((np.asarray(batch.weight) > 0).sum())
  if "kl" in loss.needs and rows < 2:
    raise UserError(
      f"loss {name!r} estimates a KL term from mismatched prompts and "
      f"completions, which a batch of {rows} cannot supply; use a batch size "
      "of 2 or more"
    )


def _check_columns(loss: Loss, batch: Batch) -> None:
  b, k = batch.completions.shape[:2]
  shapes: dict[str, tuple[int, ...]] = {
    "prompt_mask": batch.prompts.shape,
    "completion_mask": batch.completions.shape,
    "weight": (b,),
  }
  for column in ("ref_logps", "rewards", "labels", "behaviour_logps"):
    if column in loss.needs:
      shapes[column] = (b, k)
  if "margins" in loss.needs:
    shapes["margins"] = (b,)
  for column in (
    "behaviour_token_logps",
    "token_rewards",
    "token_weights",
    "old_token_values",
  ):
    if column in loss.needs:
      shapes[column] = batch.completions.shape
  if batch.ref_token_logps is not None:  # else the step computes them
    shapes["ref_token_logps"] = batch.completions.shape
  for column, shape in shapes.items():
    found = getattr(batch, column)
    if found is None:
      raise UserError(
        f"loss {str(loss)!r} needs {column}, which the batch lacks"
      )
    if found.shape != shape:
      raise UserError(
        f"the batch's {column} must be of shape {list(shape)}, not "
        f"{list(found.shape)}"
      )
    logical = column.endswith("mask") or column == "labels"
    if logical and found.dtype != bool:
      raise UserError(
        f"the batch's {column} must be of type bool, not {found.dtype}"
      )
