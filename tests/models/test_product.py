"""Products: what jax computes, in the order that is fast."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offalign.models.product import Turned, product, turned


def drawn(*shape, dtype=np.float64):
  rng = np.random.default_rng(len(shape))
  return jnp.asarray(rng.normal(size=shape), dtype)


@pytest.mark.parametrize("lead", [(), (5,), (2, 5), (2, 1, 5)])
def test_values_and_derivatives_are_those_of_a_plain_product(lead):
  with jax.enable_x64(True):
    x, kernel, weight = drawn(*lead, 3), drawn(3, 4), drawn(*lead, 4)

    def of(multiply, x, kernel):
      return jnp.sum(weight * jnp.sin(multiply(x, kernel)))

    def steep(multiply, x, kernel):
      first = jax.grad(of, argnums=(1, 2))(multiply, x, kernel)
      return sum(jnp.sum(jnp.cos(g)) for g in first)

    for function in (of, steep):
      found, expected = (
        jax.value_and_grad(function, argnums=(1, 2))(multiply, x, kernel)
        for multiply in (product, jnp.matmul)
      )
      chex.assert_trees_all_close(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
  ("of_x", "of_kernel"), [("bfloat16", "float32"), ("bfloat16", "bfloat16")]
)
def test_dtypes_are_those_of_a_plain_product(of_x, of_kernel):
  x, kernel = drawn(2, 3, dtype=of_x), drawn(3, 4, dtype=of_kernel)
  assert product(x, kernel).dtype == (x @ kernel).dtype

  def total(x, kernel):
    return product(x, kernel).sum().astype(jnp.float32)

  grads = jax.grad(total, argnums=(0, 1))(x, kernel)
  assert [g.dtype for g in grads] == [x.dtype, kernel.dtype]


def test_no_gradient_of_a_kernel_is_turned_round():
  x, kernel = jnp.ones((2, 5, 3)), jnp.ones((3, 4))

  def gradient(multiply):
    grad = jax.grad(lambda k: jnp.sin(multiply(x, k)).sum())
    return str(jax.make_jaxpr(grad)(kernel))

  assert "transpose[" in gradient(jnp.matmul)  # what is avoided
  assert "transpose[" not in gradient(product)


@pytest.mark.parametrize("lead", [(), (5,), (5, 1), (2, 3)])
def test_a_turned_kernel_multiplies_as_the_kernel_does(lead):
  x, kernel = drawn(*lead, 3, dtype="float32"), drawn(3, 4, dtype="float32")
  found = jax.jit(lambda x, turned: x @ turned)(x, Turned(kernel.T))
  np.testing.assert_allclose(found, x @ kernel, rtol=1e-5)


def test_a_product_of_few_states_is_not_made_the_slow_one(optimized):
  """XLA folds transposes into products unless it is told not to."""
  rows, x = jnp.ones((64, 32)), jnp.ones((4, 32))

  def products(multiply):
    text = jax.jit(multiply).lower(rows, x).compile().as_text()
    return re.findall(r" = f32\[(\d+,\d+)\]\S* (?:dot|fusion)\(", text)

  plain = products(lambda rows, x: (rows @ x.T).T)
  assert "64,4" not in plain  # what is avoided
  assert "64,4" in products(turned)


def test_the_unembedding_may_be_of_another_dtype():
  rows, x = drawn(6, 3, dtype="bfloat16"), drawn(2, 3, dtype="bfloat16")
  found = turned(rows, x, jnp.float32)
  assert found.dtype == jnp.float32
  expected = x.astype(jnp.float32) @ rows.astype(jnp.float32).T
  np.testing.assert_allclose(found, expected, rtol=1e-5)
