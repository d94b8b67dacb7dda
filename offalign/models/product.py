"""The product of states and a kernel, as training and decoding want it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from offalign.types import Array


def product(x: Array, kernel: Array) -> Array:
  """`x @ kernel`: [..., n], [n, m] -> [..., m].

  The kernel's gradient is computed as [n, m], states times cotangents. Jax's
  own rule computes its transpose, and on a CPU, XLA then writes a transposed
  copy of every layer's cotangents: a tenth to a fifth of a training step.
  Supports reverse-mode derivatives alone, of any order.

  Args:
    x: [..., n].
    kernel: [n, m]; may have another float type than `x`.
  """
  dtype = jnp.promote_types(x.dtype, kernel.dtype)
  return _product(x.astype(dtype), kernel.astype(dtype))


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
  return x @ kernel


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
  return x @ kernel, (x, kernel)


def _backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
  x, kernel = kept
  rows = tuple(range(x.ndim - 1))
  return _contract(g, kernel, (x.ndim - 1,), (1,)), _contract(x, g, rows, rows)


def _contract(a: Array, b: Array, over_a: Any, over_b: Any) -> Array:
  return jax.lax.dot_general(a, b, ((over_a, over_b), ((), ())))


_product.defvjp(_forward, _backward)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Turned:
  """A kernel kept as its transpose, to multiply a few states by.

  On CPUs, XLA's product of a kernel [n, m] and few states takes about twice as
  long as that of the kernel's transpose and the states' transpose.

  Attributes:
    rows: the kernel's transpose, [m, n].
  """

  rows: Array

  def __rmatmul__(self, x: Array) -> Array:
    """[..., n] -> [..., m]."""
    flat = x.reshape(-1, x.shape[-1])
    return turned(self.rows, flat).reshape(*x.shape[:-1], -1)


def turned(rows: Array, x: Array, dtype: Any = None) -> Array:
  """`x @ rows.T` from the product of `rows` and the transpose of `x`.

  Args:
    rows: [m, n].
    x: [b, n].
    dtype: of the result; default: that of a plain product.

  Returns:
    [b, m].
  """
  # Without the barriers XLA makes it the product that is to be avoided.
  columns = jax.lax.optimization_barrier(x.T)
  made = jnp.matmul(rows, columns, preferred_element_type=dtype)
  return jax.lax.optimization_barrier(made).T
