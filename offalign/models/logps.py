"""From hidden states to sequence log-probs.

The [B, K, T, V] logits exist whole only where they are small; otherwise a
piece of the vocabulary at a time, see `offalign.models.chunked_softmax`.
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
  """What the policy thinks of every completion token.

  Attributes:
    logps: [B, K, T] log p(token | prefix); nats.
    entropies: [B, K, T] of the distribution that the token is drawn from, at
      temperature 1; nats.
  """

  logps: Array
  entropies: Array


def logps_from_logits(logits: Array, targets: Array) -> Array:
  """log p(target) at every position.

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
  """log p(token | prefix) for every completion token.

  Where the logits do not fit `vocab.BUDGET`, they are formed in pieces, once
  more in the backward pass; reverse mode alone is then supported, as often as
  wanted. Padding costs as much as tokens do: pieces are of the vocabulary.

  Args:
    hidden: [B, K, T, d] states that predict each token. bfloat16 states have
      their products summed in float32, and in pieces their gradients formed
      from dlogits in bfloat16.
    unembedding: [d, V].
    targets: int [B, K, T].
    softcap: the model's bound on logits; None for none.
    chunk: tokens of the vocabulary whose logits exist at one time on each
      device; None for as many as `vocab.BUDGET` holds.
    layout: which devices have which logits; changes no results.

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
  """`token_logps` and the entropies with it, from the same pass.

  Both have gradients. The arguments are those of `token_logps`.
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
  """log sum_v p(v | prefix)^2 at every position: how sure the policy is.

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
  """Sums over completion tokens, EOS included.

  Args:
    token_logps: [B, K, T].
    mask: bool [B, K, T].

  Returns:
    [B, K] sums; nats.
  """
  return jnp.where(mask, token_logps, 0.0).sum(axis=-1)
