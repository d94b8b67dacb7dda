"""Which tokens may be drawn: top-k and top-p, as `transformers` has them.

Thresholds are found by bisection of the floats' bits: 32 passes over the
vocabulary, which is exact and a fraction of the cost of sorting it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from offalign.types import Array


def top_k(logits: Array, k: Array) -> Array:
  """-inf on all but the k largest logits, and those equal to the k-th.

  Args:
    logits: float32 [B, V].
    k: int [], at least 1; V or more changes nothing.
  """
  keys = _keys(logits)
  # Above the k-th largest, fewer than k remain.
  kth = _first(keys, lambda t: (keys > t).sum(-1, keepdims=True) < k)
  return jnp.where(keys < kth, -jnp.inf, logits)


def top_p(logits: Array, p: Array) -> Array:
  """-inf on all but the nucleus (arXiv:1904.09751, section 3.1).

  In ascending order, the tokens whose probabilities sum to 1 - p or less are
  left out; of equal ones, those with lower ids first. The likeliest token
  always stays.

  Args:
    logits: float32 [B, V].
    p: [], above 0 and below 1.
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
  """int32 of the same order as the float32 x."""
  bits = jax.lax.bitcast_convert_type(x, jnp.int32)
  bits = jnp.where(bits == jnp.iinfo(jnp.int32).min, 0, bits)  # -0 is 0
  return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _first(keys: Array, holds: Callable[[Array], Array]) -> Array:
  """The least t in each row [B, 1] for which `holds`, or the row's largest.

  Args:
    keys: int32 [B, V].
    holds: [B, 1] -> bool [B, 1]; once true, it is true of all larger t.
  """

  def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = bounds
    middle = (low & high) + ((low ^ high) >> 1)  # no overflow
    found = holds(middle)
    return jnp.where(found, low, middle + 1), jnp.where(found, middle, high)

  bounds = keys.min(-1, keepdims=True), keys.max(-1, keepdims=True)
  return jax.lax.fori_loop(0, 32, halve, bounds)[1]
