"""The weights of a reference after a border between rounds."""

import jax.numpy as jnp
import numpy as np

from offalign.reference.moving import after_border

OLD = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([4.0], jnp.bfloat16)}
NEW = {"a": jnp.array([3.0, -2.0]), "b": jnp.array([8.0])}


def test_the_ends_are_the_weights_themselves():
  assert after_border(OLD, NEW, 1.0) is OLD
  assert after_border(OLD, NEW, 0.0) is NEW


def test_an_average_keeps_its_share_and_its_dtypes():
  found = after_border(OLD, NEW, 0.75)
  np.testing.assert_array_equal(found["a"], [1.5, 1.0])
  np.testing.assert_array_equal(found["b"], [5.0])
  assert found["b"].dtype == jnp.bfloat16
