"""Value functions V: their network, and the states that V is read from.

The four combinations of the DRO paper's Figure 5 (arXiv:2405.19107) are
`network` in {separate, shared} times `per` in {example, batch}. The paper's
default, and ours, is a separate network with a value for every example. An
encoder by itself is our own addition: V reads the prompt alone, so half of an
encoder-decoder is enough for it.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from offalign import spec
from offalign.errors import UserError, option
from offalign.learner import forward
from offalign.losses import Loss
from offalign.models.base import Encoder, Hidden, Model
from offalign.types import Array, Batch, Params


@dataclasses.dataclass(frozen=True)
class ValueConfig:
  """How the value function V is computed.

  Attributes:
    network: "separate" is a network of its own that starts from the policy's
      weights; "shared" is a head on the policy's trunk, which then also
      learns from the value loss; "encoder" is like "separate", but only the
      encoder of an encoder-decoder, whose states are averaged over the prompt.
    per: "example" is V(x), read from the state after the prompt. "batch" is
      one number for all rows: the mean of V(x) over the global batch.
      "token" reads every state that predicts a completion token and averages
      over the completion; such a value sees the completion, so it is a
      biased baseline and not the paper's V; a loss that needs `token_values`,
      such as `ppo`, reads them unaveraged, and takes no other. "completion"
      reads the state that
      predicts the last completion token (EOS, unless the completion was cut),
      which has seen everything before: the reward of a reward model.
  """

  network: Literal["separate", "shared", "encoder"] = "separate"
  per: Literal["example", "batch", "token", "completion"] = "example"

  def __post_init__(self) -> None:
    spec.check_fields("value", self)


def choose(config: ValueConfig | None, loss: Loss) -> ValueConfig:
  """Chooses the value function of a loss that needs values.

  The default is `ValueConfig()`; for a reward model, which has to see the
  completion, it is per="completion", and for a loss that needs the values of
  tokens per="token".

  Raises:
    UserError: for a `per` that does not fit the loss or the network.
  """
  by_token = "token_values" in loss.needs
  if config is None:
    if by_token:
      return ValueConfig(per="token")
    rewards = loss.trains_rewards
    return ValueConfig(per="completion") if rewards else ValueConfig()
  if config.network == "encoder":
    if by_token or loss.trains_rewards:
      per = "token" if by_token else "completion"
      raise UserError(
        f"loss {str(loss)!r} takes values that see the completion, and "
        f"{option('value.network')}='encoder' reads the prompt alone: choose "
        f"'separate' or 'shared', with {option('value.per', per)}"
      )
    if config.per in ("token", "completion"):
      raise UserError(
        f"{option('value.per', config.per)} reads completions, and "
        f"{option('value.network')}='encoder' the prompt alone: choose "
        "'separate' or 'shared'"
      )
  if by_token and config.per != "token":
    raise UserError(
      f"loss {str(loss)!r} takes the value of every token: give "
      f"{option('value.per', 'token')}, since {option('value.per')} is "
      f"{config.per!r}"
    )
  if loss.trains_rewards and config.per not in ("completion", "token"):
    raise UserError(
      f"loss {str(loss)!r} trains a reward model, whose value must see the "
      f"completion: give {option('value.per', 'completion')} (or 'token'), "
      f"since {option('value.per')} is {config.per!r}"
    )
  if config.per == "completion" and not loss.trains_rewards:
    raise UserError(
      f"{option('value.per')}='completion' is a reward model's, and V of loss "
      f"{str(loss)!r} is of the prompt; choose 'example', 'batch' or 'token'"
    )
  return config


def encoder_of(model: Model) -> Encoder:
  """The encoder of a model.

  Raises:
    UserError: for a model that has none.
  """
  if model.encoder is None:
    raise UserError(
      f"{option('value.network')}='encoder' needs an encoder-decoder such as "
      f"T5, and {model.spec} has no encoder: choose 'separate' or 'shared'"
    )
  return model.encoder


def init(config: ValueConfig, model: Model, policy: Params) -> Params:
  """Initialises the value's params: a zero head, and a trunk unless shared.

  Args:
    config: which value function.
    model: the policy's model.
    policy: the policy's params; a trunk starts as a copy of them, or of the
      encoder's.

  Returns:
    {"head": {"kernel": [d], "bias": []}} and, unless shared, "trunk".

  Raises:
    UserError: for an encoder that the model does not have.
  """
  leaf = jax.tree.leaves(policy)[0]
  dtype = jnp.promote_types(leaf.dtype, jnp.float32)
  head = {
    "kernel": jnp.zeros(model.width, dtype),
    "bias": jnp.zeros((), dtype),
  }
  if config.network == "shared":
    return {"head": head}
  if config.network == "encoder":
    policy = encoder_of(model).params(policy)
  return {"head": head, "trunk": jax.tree.map(jnp.copy, policy)}


def values(
  config: ValueConfig,
  model: Model,
  params: Params,
  batch: Batch,
  policy_hidden: Hidden,
) -> Array:
  """Computes V of each row, before per="batch" averages over rows.

  Args:
    config: which value function.
    model: the policy's model.
    params: what `init` returned.
    batch: B prompts with K completions.
    policy_hidden: the policy's states, read by a shared value.

  Returns:
    [B, 1] for "example" and "batch", [B, K] for the others.
  """
  if config.per in ("example", "batch"):
    return _raw(config, model, params, batch, policy_hidden)[:, None]
  raw = token_values(config, model, params, batch, policy_hidden)
  mask = batch.completion_mask
  if config.per == "completion":
    # One position a row: that of its last token, or none if it is empty.
    mask = mask & (jnp.cumsum(mask, axis=-1) == mask.sum(-1, keepdims=True))
  return jnp.where(mask, raw, 0.0).sum(-1) / jnp.maximum(mask.sum(-1), 1)


def token_values(
  config: ValueConfig,
  model: Model,
  params: Params,
  batch: Batch,
  policy_hidden: Hidden,
) -> Array:
  """Computes V of the prompt and the tokens before each token, [B, K, T].

  The arguments are those of `values`; `config.per` sees the completion.
  Where the completion mask is False, the number may be any.
  """
  raw = _raw(config, model, params, batch, policy_hidden)
  return forward.by_token(batch, raw)


def _raw(
  config: ValueConfig,
  model: Model,
  params: Params,
  batch: Batch,
  policy_hidden: Hidden,
) -> Array:
  """The head's number for each state that V reads."""
  states = _states(config, model, params, batch, policy_hidden)
  head = params["head"]
  return states.astype(head["kernel"].dtype) @ head["kernel"] + head["bias"]


def _states(
  config: ValueConfig,
  model: Model,
  params: Params,
  batch: Batch,
  policy_hidden: Hidden,
) -> Array:
  """States that V reads: [B, d] after the prompt, or all of them."""
  sees = config.per in ("token", "completion")
  if config.network == "shared":
    hidden = policy_hidden
  elif config.network == "encoder":
    return forward.encoder_state(encoder_of(model), params["trunk"], batch)
  elif sees:
    hidden = forward.hidden(model, params["trunk"], batch)
  else:
    return forward.prompt_state(model, params["trunk"], batch)
  return hidden.completions if sees else hidden.prompt


def over_batch(config: ValueConfig, raw: Array, weight: Array) -> Array:
  """Averages V over the global batch for per="batch"; else returns it."""
  if config.per != "batch":
    return raw
  mean = jnp.sum(weight[:, None] * raw) / jnp.maximum(weight.sum(), 1e-9)
  return jnp.broadcast_to(mean, raw.shape)
