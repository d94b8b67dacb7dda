"""The mask that a sight stands for."""

import jax.numpy as jnp
import numpy as np

from offalign.models import sight


def test_a_mask_passes_every_test():
  ids = np.array([[1, 1, 2, 2, 2]])
  places = np.array([[0, 1, 0, 1, 2]])
  seen = sight.same(jnp.asarray(ids), jnp.asarray(ids)).before()
  seen = seen.near(jnp.asarray(places), jnp.asarray(places), jnp.asarray(2))
  want = [
    [1, 0, 0, 0, 0],
    [1, 1, 0, 0, 0],
    [0, 0, 1, 0, 0],
    [0, 0, 1, 1, 0],
    [0, 0, 0, 1, 1],
  ]
  for each in (seen, seen.whole(5)):  # made now, or before
    np.testing.assert_array_equal(each.mask(5)[0, 0], np.array(want, bool))


def test_padding_is_seen_by_no_query_and_everything_by_all_without_a_limit():
  real = jnp.asarray([[True, False], [True, True]])
  assert sight.real(real).mask(3).shape == (2, 1, 1, 2)
  np.testing.assert_array_equal(sight.real(real).mask(3)[:, 0, 0], real)
  assert sight.Sight().mask(3).all()
