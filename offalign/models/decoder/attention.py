"""Who sees whom in a decoder, for prompts with several completions.

Attention to the prompts and attention within the completions are computed
apart and merged, so that no mask of the whole length squared is made, and
completions are not compared with each other where they are not one stream.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from offalign.models import layers, positions
from offalign.models.packed import owners, rows, same
from offalign.types import Array, Packed

Attend = Callable[[Array, Array, Array, Array], layers.Attended]
"""(q, k, v, mask), with a model's scale and bound."""
Attention = Callable[..., tuple[Array, Any]]
"""(window, then as `layers.Attention`)."""


def prompt_view(seen: Array, *, prefix_lm: bool) -> Array:
  """What each prompt token sees of the prompts.

  Args:
    seen: bool [B, 1, P or 1, P], the real tokens of its own prompt.
    prefix_lm: whether those after it too.
  """
  if prefix_lm:
    return seen
  return jnp.logical_and(seen, layers.causal(seen.shape[-1]))


def of_prompts(attend: Attend, view: Array, where: Array) -> Attention:
  """Attention of prompts alone; returns the keys and values too.

  Args:
    attend: computes it.
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
  """The part that sees prompts, and its merger with what completions see.

  Args:
    attend: computes it.
    view: what each prompt token sees of the prompts.
    real: what each completion token sees of them.
    inside: [B, P] positions of the prompts.
    after: [B, C] those of the completions.

  Returns:
    (window, queries, keys, values of P + C tokens, the completions' attention
    to themselves) -> what is mixed for all of them.
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
  """Attention of [prompt | y_1 | ... | y_K], which costs P^2 + KT(P + T).

  Args:
    attend: computes it.
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
  """Attention of rows of prompts and, after them, their completions.

  Args:
    attend: computes it.
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
