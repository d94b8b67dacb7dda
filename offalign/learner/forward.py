"""Forward passes of a model over a batch, packed or not.

Losses, statistics and metrics see columns [B, K]; only this module knows
whether a batch is packed (`offalign.types.Packed`).
"""

from offalign.errors import UserError
from offalign.models import packed as packing
from offalign.models.base import Counted, Encoder, Hidden, Model, Routed
from offalign.types import Array, Batch, Params


def hidden(model: Model, params: Params, batch: Batch) -> Hidden:
  """Computes the hidden states that predict the completion tokens.

  Args:
    model: the model.
    params: its params.
    batch: B prompts with K completions.

  Returns:
    States laid out as the batch is: [B, K, T, d], or [G, R, C, d] if packed.
    `by_token` brings numbers computed from the states back to [B, K, T].

  Raises:
    UserError: for a packed batch that the model cannot run.
  """
  if batch.packed is None:
    return model.hidden(
      params,
      batch.prompts,
      batch.prompt_mask,
      batch.completions,
      batch.completion_mask,
    )
  if model.hidden_packed is None:
    raise UserError(f"{model.spec} cannot run packed batches; leave them as is")
  return model.hidden_packed(params, batch.packed)


def routed(
  model: Model, params: Params, batch: Batch, counted: Counted
) -> tuple[Hidden, Routed]:
  """Computes `hidden`, and what the model's routers did.

  Args:
    model: a model with `routing`.
    params: its params.
    batch: see `hidden`.
    counted: how much each token counts; laid out as the batch is.
  """
  assert model.routing is not None
  if batch.packed is not None:
    return model.routing.hidden_packed(params, batch.packed, counted)
  return model.routing.hidden(
    params,
    batch.prompts,
    batch.prompt_mask,
    batch.completions,
    batch.completion_mask,
    counted,
  )


def prompt_state(model: Model, params: Params, batch: Batch) -> Array:
  """Computes `hidden(...).prompt`, [B, d], without running the completions.

  Raises:
    UserError: see `hidden`.
  """
  if batch.packed is None:
    return model.prompt_state(params, batch.prompts, batch.prompt_mask)
  if model.prompt_state_packed is None:
    raise UserError(f"{model.spec} cannot run packed batches; leave them as is")
  return model.prompt_state_packed(params, batch.packed)


def encoder_state(encoder: Encoder, params: Params, batch: Batch) -> Array:
  """Computes the state of each prompt, [B, d], by an encoder alone.

  Raises:
    UserError: for a packed batch that the encoder cannot run.
  """
  if batch.packed is None:
    return encoder.state(params, batch.prompts, batch.prompt_mask)
  if encoder.state_packed is None:
    raise UserError("the encoder cannot run packed batches; leave them as is")
  return encoder.state_packed(params, batch.packed)


def targets(batch: Batch) -> Array:
  """The tokens that the states predict, int [B, K, T] or [G, R, C]."""
  if batch.packed is None:
    return batch.completions
  return batch.packed.completions


def by_token(batch: Batch, numbers: Array) -> Array:
  """Brings one number per hidden state into the order [B, K, T].

  Where the completion mask is False, the number may come from any state.
  """
  if batch.packed is None:
    return numbers
  return packing.unpack(batch.packed, numbers, batch.completions.shape[2])
