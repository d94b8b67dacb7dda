"""Log-probs of tokens and sequences, from hidden states.

The whole [B, K, T, V] logits are formed only where they are small; otherwise
a piece of the vocabulary at a time, see `offalign.models.chunked_softmax`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange

from offalign.models import chunked_softmax
from offalign.models.chunked_softmax import soft_cap as soft_cap
from offalign.types import Array

_POSITIONS = 128  # of T whose logits `log_collisions` holds at one time


class TokenStats(NamedTuple):
  """Log-prob and entropy at every completion token.

  Attributes:
    logps: [B, K, T] log p(token | prefix); nats.
    entropies: [B, K, T] of the distribution that the token is drawn from, at
      temperature 1; nats.
  """

  logps: Array
  entropies: Array


def logps_from_logits(logits: Array, targets: Array) -> Array:
  """Computes log p(target) at every position from logits.

  Args:
    logits: [..., V], of any float type; computed in float32 or wider.
    targets: int [...], token ids.

  Returns:
    [...] log-probs; nats.
  """
  dtype = jnp.promote_types(logits.dtype, jnp.float32)
  logits = logits.astype(dtype)
  picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  return picked - jax.nn.logsumexp(logits, axis=-1)


def token_logps(
  hidden: Array,
  unembedding: Array,
  targets: Array,
  *,
  softcap: float | None = None,
  chunk: int | None = None,
  layout: chunked_softmax.Layout = chunked_softmax.Layout(),  # noqa: B008, it is frozen
) -> Array:
  """Computes log p(token | prefix) for every completion token.

  Logits that do not fit `chunked_softmax.BUDGET` are computed in pieces, and
  again in the backward pass; then only reverse-mode derivatives are
  supported, of any order. Since pieces are cut from the vocabulary, padding
  costs as much as tokens.

  Args:
    hidden: [B, K, T, d] states that predict each token. For bfloat16 states,
      products are summed in float32; in pieces, gradients are computed from
      dlogits in bfloat16.
    unembedding: [d, V].
    targets: int [B, K, T].
    softcap: the model's bound on logits; None for none.
    chunk: tokens of the vocabulary whose logits exist at one time on each
      device; None for as many as `chunked_softmax.BUDGET` holds.
    layout: which devices hold which logits; changes no results.

  Returns:
    [B, K, T] in float32 (float64 for float64 states); nats.
  """
  plan = chunked_softmax.plan(
    targets.size,
    unembedding.shape[1],
    chunk=chunk,
    layout=layout,
    softcap=softcap,
    entropy=False,
  )
  if plan.pieces == 1:
    return logps_from_logits(_logits(hidden, unembedding, softcap), targets)
  return chunked_softmax.stats(plan, hidden, unembedding, targets)[0]


def token_stats(
  hidden: Array,
  unembedding: Array,
  targets: Array,
  *,
  softcap: float | None = None,
  chunk: int | None = None,
  layout: chunked_softmax.Layout = chunked_softmax.Layout(),  # noqa: B008, it is frozen
) -> TokenStats:
  """Computes log-probs and entropies of every token in one pass.

  Both are differentiable. For the arguments see `token_logps`.
  """
  plan = chunked_softmax.plan(
    targets.size,
    unembedding.shape[1],
    chunk=chunk,
    layout=layout,
    softcap=softcap,
    entropy=True,
  )
  logps, entropies = chunked_softmax.stats(plan, hidden, unembedding, targets)
  assert entropies is not None
  return TokenStats(logps, entropies)


def _logits(hidden: Array, unembedding: Array, softcap: float | None) -> Array:
  logits = jnp.einsum(
    "bktd,dv->bktv",
    hidden,
    unembedding,
    preferred_element_type=jnp.promote_types(hidden.dtype, jnp.float32),
  )
  return soft_cap(logits, softcap)


def log_collisions(
  hidden: Array,
  unembedding: Array,
  *,
  softcap: float | None = None,
) -> Array:
  """Computes log sum_v p(v | prefix)^2, the policy's certainty, everywhere.

  Args:
    hidden: [B, K, T, d] states that predict each token.
    unembedding: [d, V].
    softcap: the model's bound on logits; None for none.

  Returns:
    [B, K, T] in float32 (float64 for float64 states); at most 0.
  """

  def project(h: Array) -> Array:
    dtype = jnp.promote_types(h.dtype, jnp.float32)
    logits = jnp.einsum(
      "bktd,dv->bktv", h, unembedding, preferred_element_type=dtype
    )
    log_p = jax.nn.log_softmax(soft_cap(logits, softcap), axis=-1)
    return jax.nn.logsumexp(2.0 * log_p, axis=-1)

  t = hidden.shape[2]
  chunk = min(_POSITIONS, t)
  n = -(-t // chunk)
  padded = jnp.pad(hidden, ((0, 0), (0, 0), (0, n * chunk - t), (0, 0)))
  pieces = jax.lax.map(
    project, rearrange(padded, "b k (n c) d -> n b k c d", n=n)
  )
  return rearrange(pieces, "n b k c -> b k (n c)")[..., :t]


def sequence_logps(token_logps: Array, mask: Array) -> Array:
  """Sums token log-probs over each completion, EOS included.

  Args:
    token_logps: [B, K, T].
    mask: bool [B, K, T].

  Returns:
    [B, K] sums; nats.
  """
  return jnp.where(mask, token_logps, 0.0).sum(axis=-1)
