"""Decoder attention for prompts with several completions: who sees whom.

Attention to the prompts and attention within the completions are computed
separately and merged, so no mask of the whole length squared is made and, but
for packed rows, no completion is compared with another.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from offalign.models import layers, positions
from offalign.models.packed import owners, rows, same
from offalign.types import Array, Packed

Attend = Callable[[Array, Array, Array, Array], layers.Attended]
"""(q, k, v, mask) -> attention with the model's scale and bound on scores."""
Attention = Callable[..., tuple[Array, Any]]
"""`layers.Attention` with the layer's window as its first argument."""


def prompt_view(seen: Array, *, prefix_lm: bool) -> Array:
  """Mask of the prompt tokens that each prompt token sees.

  Args:
    seen: bool [B, 1, P or 1, P], the real tokens of the token's own prompt.
    prefix_lm: whether a token also sees those after itself.
  """
  if prefix_lm:
    return seen
  return jnp.logical_and(seen, layers.causal(seen.shape[-1]))


def of_prompts(attend: Attend, view: Array, where: Array) -> Attention:
  """Makes the attention of prompts alone, which also returns keys and values.

  Args:
    attend: computes attention.
    view: from `prompt_view`.
    where: [B, P] positions.
  """

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    near = positions.near(view, where, where, window)
    return attend(q, k, v, near).mixed, (k, v)

  return attention


def _over_prompts(
  attend: Attend, view: Array, real: Array, inside: Array, after: Array
) -> Callable[[Array | None, Array, Array, Array, layers.Attended], Array]:
  """Makes attention to the prompts, merged with that within completions.

  Args:
    attend: computes attention.
    view: mask of the prompt tokens that each prompt token sees.
    real: mask of the prompt tokens that each completion token sees.
    inside: [B, P] positions of the prompt tokens.
    after: [B, C] positions of the completion tokens.

  Returns:
    (window, queries, keys and values of P + C tokens, the completions'
    attention to themselves) -> the mixed values of all P + C tokens.
  """
  p = inside.shape[1]

  def mixed(
    window: Array | None, q: Array, k: Array, v: Array, own: layers.Attended
  ) -> Array:
    near = functools.partial(positions.near, window=window)
    keys, values = k[:, :p], v[:, :p]
    within = attend(q[:, :p], keys, values, near(view, inside, inside))
    back = attend(q[:, p:], keys, values, near(real, after, inside))
    return jnp.concatenate([within.mixed, layers.merge(back, own)], axis=1)

  return mixed


def shared_prompt(
  attend: Attend,
  prompt_mask: Array,
  where: Array,
  k: int,
  t: int,
  *,
  prefix_lm: bool,
) -> Attention:
  """Makes the attention of [prompt | y_1 | ... | y_K]: P^2 + KT(P + T) scores.

  Args:
    attend: computes attention.
    prompt_mask: [B, P].
    where: [B, P + K * T] positions.
    k: completions of a prompt.
    t: T.
    prefix_lm: see `prompt_view`.
  """
  b, p = prompt_mask.shape
  real = prompt_mask[:, None, None]
  view = prompt_view(real, prefix_lm=prefix_lm)
  inside, after, steps = where[:, :p], where[:, p:], jnp.arange(t)[None]
  over_prompts = _over_prompts(attend, view, real, inside, after)

  def apart(x: Array) -> Array:
    return x[:, p:].reshape(b * k, t, *x.shape[2:])

  def together(x: Array) -> Array:
    return x.reshape(b, k * t, *x.shape[2:])

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    seen = positions.near(layers.causal(t), steps, steps, window)
    own = attend(apart(q), apart(k), apart(v), seen)
    own = layers.Attended(together(own.mixed), together(own.mass))
    return over_prompts(window, q, k, v, own), None

  return attention


def packed_rows(
  attend: Attend, packed: Packed, *, prefix_lm: bool
) -> Attention:
  """Makes the attention of packed rows: prompts, then their completions.

  Args:
    attend: computes attention.
    packed: the rows.
    prefix_lm: see `prompt_view`.
  """
  prompts, segments = rows(packed.prompt_owner), rows(packed.segment)
  inside, after = rows(packed.prompt_position), rows(packed.position)
  p, c = prompts.shape[1], segments.shape[1]
  view = prompt_view(same(prompts, prompts), prefix_lm=prefix_lm)
  real = same(rows(owners(packed)), prompts)
  past = jnp.logical_and(same(segments, segments), layers.causal(c))
  over_prompts = _over_prompts(attend, view, real, inside, after)

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    seen = positions.near(past, after, after, window)
    own = attend(q[:, p:], k[:, p:], v[:, p:], seen)
    return over_prompts(window, q, k, v, own), None

  return attention
