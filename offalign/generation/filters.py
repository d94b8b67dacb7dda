"""Top-k and top-p (nucleus) filters of logits, as in `transformers`.

Thresholds are found by bisection of the floats' bits: 32 passes over the
vocabulary, which is exact and costs a fraction of sorting it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from offalign.types import Array


def top_k(logits: Array, k: Array) -> Array:
  """Sets all but the k largest logits to -inf; ties with the k-th stay.

  Args:
    logits: float32 [B, V].
    k: int [], at least 1; V or more changes nothing.
  """
  keys = _keys(logits)
  # Above the k-th largest, fewer than k remain.
  kth = _first(keys, lambda t: (keys > t).sum(-1, keepdims=True) < k)
  return jnp.where(keys < kth, -jnp.inf, logits)


def top_p(logits: Array, p: Array) -> Array:
  """Sets logits outside the nucleus to -inf (arXiv:1904.09751, section 3.1).

  Tokens are left out in ascending order of probability, as long as their
  probabilities sum to 1 - p or less; of equally likely tokens, those with
  lower ids go first. The likeliest token always stays.

  Args:
    logits: float32 [B, V].
    p: the nucleus's share of the probability; scalar, above 0 and below 1.
  """
  keys = _keys(logits)
  probs = jax.nn.softmax(logits)

  def mass(which: Array) -> Array:
    return jnp.where(which, probs, 0).sum(-1, keepdims=True)

  edge = _first(keys, lambda t: mass(keys <= t) > 1 - p)
  equal = keys == edge
  summed = mass(keys < edge) + jnp.cumsum(jnp.where(equal, probs, 0), axis=-1)
  out = (keys < edge) | (equal & (summed <= 1 - p))
  largest = keys == keys.max(-1, keepdims=True)
  ids = jnp.arange(keys.shape[-1])
  stays = jnp.where(largest, ids, -1).max(-1, keepdims=True) == ids
  return jnp.where(out & ~stays, -jnp.inf, logits)


def _keys(x: Array) -> Array:
  """Maps float32 to int32 that sort in the same order."""
  bits = jax.lax.bitcast_convert_type(x, jnp.int32)
  bits = jnp.where(bits == jnp.iinfo(jnp.int32).min, 0, bits)  # -0 is 0
  return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _first(keys: Array, holds: Callable[[Array], Array]) -> Array:
  """Finds by bisection, in each row, the least t [B, 1] for which `holds`.

  Where it holds for none, t is the row's largest key.

  Args:
    keys: int32 [B, V].
    holds: t [B, 1] -> bool [B, 1]; where true for some t, true for all above.
  """

  def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = bounds
    middle = (low & high) + ((low ^ high) >> 1)  # no overflow
    found = holds(middle)
    return jnp.where(found, low, middle + 1), jnp.where(found, middle, high)

  bounds = keys.min(-1, keepdims=True), keys.max(-1, keepdims=True)
  return jax.lax.fori_loop(0, 32, halve, bounds)[1]
