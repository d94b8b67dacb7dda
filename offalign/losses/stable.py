"""Numerically stable exp, expm1 and differences."""

import math

import jax.numpy as jnp

from offalign.types import Array


def bound(x: Array) -> float:
  """The x above which exponentials continue as their tangent: 40 in float32.

  In float64 the bound is 350. Both lie far outside what a healthy run sees,
  and leave room for the square of a gradient, which optimisers keep.
  """
  return 0.5 * math.log(float(jnp.finfo(x.dtype).max)) - 4.0


def exp(x: Array) -> Array:
  """exp(x), continued by its tangent above `bound`."""
  top = bound(x)
  return jnp.exp(jnp.minimum(x, top)) * (1.0 + jnp.maximum(x - top, 0.0))


def expm1(x: Array, *, power: float = 1.0) -> Array:
  """exp(x) - 1, exact near 0, continued by its tangent above a bound.

  Args:
    x: any shape.
    power: to which the result is raised afterwards; the bound is `bound`
      divided by it, so that there is as much room.
  """
  top = bound(x) / power
  inside = jnp.minimum(x, top)
  return jnp.expm1(inside) + jnp.exp(inside) * jnp.maximum(x - top, 0.0)


def difference(a: Array, b: Array) -> tuple[Array, Array]:
  """a - b as rounded, and what the rounding left out (Knuth's two-sum).

  Margins of log-probs in the thousands have few digits after the point in
  float32; where two such margins are subtracted, the remainders matter.
  """
  d = a - b
  part = d - a
  return d, (a - (d - part)) - (b + part)
