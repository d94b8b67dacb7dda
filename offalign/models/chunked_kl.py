"""KL divergence of two models' next tokens, in pieces of the vocabulary.

KL(reference || policy) at every token is a sum over the vocabulary of numbers
that need the logits of both models. As in `chunked_softmax`, from whose pieces
this is made, the logits [tokens, V] are never whole in memory: a piece of each
model is reduced to a maximum, a sum of exponentials and, under the reference, a
sum of differences of logits; the backward pass computes each piece again.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from offalign.models import chunked_softmax as softmax
from offalign.types import Array


def token_kls(
  hidden: Array,
  unembedding: Array,
  ref_hidden: Array,
  ref_unembedding: Array,
  *,
  softcap: float | None = None,
  ref_softcap: float | None = None,
  chunk: int | None = None,
  layout: softmax.Layout = softmax.Layout(),  # noqa: B008, it is frozen
) -> Array:
  """Computes sum_v pi_ref(v) log(pi_ref(v) / pi(v)) at every token.

  The inner sum of the sequential KL divergence of arXiv:2404.11999, definition
  4.3. Only reverse-mode derivatives are supported.

  Of two vocabularies, where one is padded further, v goes over the tokens that
  both have, and both distributions are given that it is one of these.

  Args:
    hidden: [B, K, T, d] states of the policy that predict each token.
    unembedding: [d, V], of the policy.
    ref_hidden: [B, K, T, d'] states of the reference; get no gradient.
    ref_unembedding: [d', V'], of the reference; gets no gradient.
    softcap: the bound on the logits of the policy; None for none.
    ref_softcap: likewise of the reference.
    chunk: see `logps.token_logps`; of each of the two models.
    layout: which devices hold which logits; changes no results.

  Returns:
    [B, K, T] in float32 (float64 for float64 states); nats. Exactly 0 where
    the models are the same.
  """
  both = min(unembedding.shape[1], ref_unembedding.shape[1])
  plan = softmax.plan(
    2 * hidden[..., 0].size,
    both,
    chunk=chunk,
    layout=layout,
    softcap=softcap,
    entropy=False,
  )
  plans = _Plans(plan, dataclasses.replace(plan, softcap=ref_softcap))
  own, other = unembedding[:, :both], ref_unembedding[:, :both]
  return _kls(plans, hidden, own, ref_hidden, other)


class _Plans(NamedTuple):
  """The same pieces of two models, which bound their logits differently."""

  own: softmax.Plan
  ref: softmax.Plan


class _Mass(NamedTuple):
  """What is known of a softmax after some pieces; [B, K, T, S or 1] each.

  Attributes:
    top: the highest logit.
    sum: sum of exp(logit - top).
  """

  top: Array
  sum: Array


class _Total(NamedTuple):
  """A softmax's normaliser, the exponential of top + log_sum; [B, K, T] each.

  Attributes:
    top: the highest logit.
    log_sum: log of the sum of exp(logit - top).
    share: [B, K, T, S or 1], what turns sums of a part into those of the whole.
  """

  top: Array
  log_sum: Array
  share: Array


def _more(
  plan: softmax.Plan, mass: _Mass, logits: Array
) -> tuple[_Mass, Array, Array]:
  """Adds a piece; also exp(logit - top), and how much former sums shrink."""
  top = jnp.maximum(mass.top, softmax.over(plan, jnp.max, logits))
  shrink = jnp.exp(mass.top - top)
  likely = jnp.exp(logits - top[..., None])
  total = mass.sum * shrink + softmax.over(plan, jnp.sum, likely)
  return _Mass(top, total), likely, shrink


def _whole(mass: _Mass) -> _Total:
  """Puts the parts of a vocabulary together."""
  top = mass.top.max(axis=-1)
  share = jnp.exp(mass.top - top[..., None])
  total = (mass.sum * share).sum(axis=-1)
  return _Total(top, jnp.log(total), share / total[..., None])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kls(
  plans: _Plans,
  hidden: Array,
  unembedding: Array,
  ref_hidden: Array,
  ref_unembedding: Array,
) -> Array:
  return _forward(plans, hidden, unembedding, ref_hidden, ref_unembedding)[0]


def _forward(
  plans: _Plans,
  hidden: Array,
  unembedding: Array,
  ref_hidden: Array,
  ref_unembedding: Array,
) -> tuple[Array, Any]:
  dtype, plan = jnp.promote_types(hidden.dtype, jnp.float32), plans.own

  def step(
    i: Array, carry: tuple[_Mass, _Mass, Array]
  ) -> tuple[_Mass, _Mass, Array]:
    own, ref, gaps = carry
    mine = softmax.piece_at(plans.own, hidden, unembedding, i)
    other = softmax.piece_at(plans.ref, ref_hidden, ref_unembedding, i)
    own, _, _ = _more(plan, own, mine.logits)
    ref, likely, shrink = _more(plan, ref, other.logits)
    fresh = (mine.ids >= 0)[None, None, None]
    gap = jnp.where(fresh, other.logits, 0) - jnp.where(fresh, mine.logits, 0)
    gaps = gaps * shrink + softmax.over(plan, jnp.sum, likely * gap)
    return own, ref, gaps

  parts = plan.blocks if plan.apart else 1
  zeros = jnp.zeros((*hidden.shape[:-1], parts), dtype)
  empty = _Mass(jnp.full_like(zeros, -jnp.inf), zeros)
  own, ref, gaps = jax.lax.fori_loop(
    0, plan.pieces, step, (empty, empty, zeros)
  )
  mine, other = _whole(own), _whole(ref)
  # In this order, the rounding error does not grow with the logits.
  gap = (other.share * gaps).sum(axis=-1) + (mine.top - other.top)
  out = gap + (mine.log_sum - other.log_sum)
  lses = mine.top + mine.log_sum, other.top + other.log_sum
  return out, (hidden, unembedding, ref_hidden, ref_unembedding, *lses)


def _backward(plans: _Plans, kept: Any, g: Array) -> Any:
  hidden, unembedding, ref_hidden, ref_unembedding, lse, ref_lse = kept

  def slopes(i: Array, piece: softmax.Piece) -> Array:
    other = softmax.piece_at(plans.ref, ref_hidden, ref_unembedding, i)
    p = jnp.exp(piece.logits - lse[..., None, None])
    ref_p = jnp.exp(other.logits - ref_lse[..., None, None])
    return g[..., None, None] * (p - ref_p)

  found = softmax.pull_back(plans.own, hidden, unembedding, slopes)
  return *found, None, None


_kls.defvjp(_forward, _backward)
