"""Decoder attention for prompts with several completions: who sees whom.

Attention to the prompts and attention within the completions are computed
separately and merged, so no mask of the whole length squared is made and, but
for packed rows, no completion is compared with another.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from offalign.errors import UserError
from offalign.models import layers
from offalign.models.attending import Attend, refused
from offalign.models.packed import owners, rows
from offalign.models.positions import from_mask
from offalign.models.sight import Sight, past, real, same
from offalign.types import Array, Packed

Attention = Callable[..., tuple[Array, Any]]
"""`layers.Attention` with the layer's window as its first argument."""


def prompt_view(seen: Sight, *, prefix_lm: bool) -> Sight:
  """The prompt tokens that each prompt token sees.

  Args:
    seen: the real tokens of the token's own prompt.
    prefix_lm: whether a token also sees those after itself.
  """
  return seen if prefix_lm else seen.before()


def of_prompts(attend: Attend, view: Sight, where: Array) -> Attention:
  """Makes the attention of prompts alone, which also returns keys and values.

  Args:
    attend: computes attention.
    view: from `prompt_view`.
    where: [B, P] positions.
  """
  view = attend.ready(view, where.shape[1], where.shape[1])

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    near = view.near(where, where, window)
    return attend(q, k, v, near).mixed, (k, v)

  return attention


def after_cache(
  attend: Attend, visible: Array, slot: Array, where: Array
) -> Attention:
  """Makes the attention of tokens that follow those in a cache.

  Args:
    attend: computes attention.
    visible: bool [B, S], the tokens in the cache.
    slot: int [B], where the first of the new tokens goes.
    where: [B, C] positions of the new tokens, which are padded on the right.
  """
  c = where.shape[1]
  slots = from_mask(visible)
  before = attend.ready(real(visible), c, visible.shape[1])
  inside = attend.ready(past(), c, c)

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, cache: Any
  ) -> tuple[Array, Any]:
    own = attend(q, k, v, inside.near(where, where, window))
    keys, values = cache
    far = attend(q, keys, values, before.near(where, slots, window))
    return layers.merge(far, own), layers.write(cache, (k, v), slot)

  return attention


def _over_prompts(
  attend: Attend, view: Sight, back: Sight, inside: Array, after: Array
) -> Callable[[Array | None, Array, Array, Array, layers.Attended], Array]:
  """Makes attention to the prompts, merged with that within completions.

  Args:
    attend: computes attention.
    view: the prompt tokens that each prompt token sees.
    back: the prompt tokens that each completion token sees.
    inside: [B, P] positions of the prompt tokens.
    after: [B, C] positions of the completion tokens.

  Returns:
    (window, queries, keys and values of P + C tokens, the completions'
    attention to themselves) -> the mixed values of all P + C tokens.
  """
  p, c = inside.shape[1], after.shape[1]
  view, back = attend.ready(view, p, p), attend.ready(back, c, p)

  def mixed(
    window: Array | None, q: Array, k: Array, v: Array, own: layers.Attended
  ) -> Array:
    keys, values = k[:, :p], v[:, :p]
    near, far = (
      view.near(inside, inside, window),
      back.near(after, inside, window),
    )
    within = attend(q[:, :p], keys, values, near)
    to_prompt = attend(q[:, p:], keys, values, far)
    merged = layers.merge(to_prompt, own)
    return jnp.concatenate([within.mixed, merged], axis=1)

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
  view = prompt_view(real(prompt_mask), prefix_lm=prefix_lm)
  inside, after, steps = where[:, :p], where[:, p:], jnp.arange(t)[None]
  over_prompts = _over_prompts(attend, view, real(prompt_mask), inside, after)

  def apart(x: Array) -> Array:
    return x[:, p:].reshape(b * k, t, *x.shape[2:])

  def together(x: Array) -> Array:
    return x.reshape(b, k * t, *x.shape[2:])

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    seen = past().near(steps, steps, window)
    own = attend(apart(q), apart(k), apart(v), seen)
    own = layers.Attended(together(own.mixed), together(own.mass))
    return over_prompts(window, q, k, v, own), None

  return attention


def in_one_call(
  attend: Attend,
  prompt_mask: Array,
  k: int,
  t: int,
  *,
  prefix_lm: bool,
  windows: Mapping[int | None, float],
) -> Attention:
  """Makes `shared_prompt` of a kernel's calls, one in each layer.

  Args:
    attend: has scale and bound of the scores.
    prompt_mask: [B, P], padding first if there are windows.
    k: completions of a prompt.
    t: T.
    prefix_lm: see `prompt_view`.
    windows: that layers have -> the share of layers, None first; of those
      with a longer window, None.
  """
  # Imported here: it takes a third of a second, and other paths do without.
  from offalign.models import splash

  calls = [
    functools.partial(
      splash.attend,
      layout=splash.Layout(prompt_mask.shape[1], k, t, prefix_lm, window),
      scale=attend.scale,
      cap=attend.cap,
      share=share,
    )
    for window, share in windows.items()
  ]

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    if len(calls) == 1:
      return calls[0](q, k, v, prompt_mask), None
    assert window is not None
    which = sum(
      i * (window == each).astype(jnp.int32)
      for i, each in enumerate(windows)
      if each is not None
    )
    return jax.lax.switch(which, calls, q, k, v, prompt_mask), None

  return attention


def packed_rows(
  attend: Attend, packed: Packed, *, prefix_lm: bool
) -> Attention:
  """Makes the attention of packed rows: prompts, then their completions.

  Args:
    attend: computes attention.
    packed: the rows.
    prefix_lm: see `prompt_view`.

  Raises:
    UserError: where a kernel was asked for.
  """
  if attend.path == "splash":
    raise UserError(
      refused(
        "who sees whom in packed rows is data, which the kernel does not take"
      )
    )
  prompts, segments = rows(packed.prompt_owner), rows(packed.segment)
  inside, after = rows(packed.prompt_position), rows(packed.position)
  p, c = prompts.shape[1], segments.shape[1]
  view = prompt_view(same(prompts, prompts), prefix_lm=prefix_lm)
  back = same(rows(owners(packed)), prompts)
  over_prompts = _over_prompts(attend, view, back, inside, after)
  before = attend.ready(same(segments, segments).before(), c, c)

  def attention(
    window: Array | None, q: Array, k: Array, v: Array, _: Any
  ) -> tuple[Array, Any]:
    seen = before.near(after, after, window)
    own = attend(q[:, p:], k[:, p:], v[:, p:], seen)
    return over_prompts(window, q, k, v, own), None

  return attention
