"""Fixtures of the loss tests."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _strict():
  """Arrays of unlike ranks or dtypes do not meet by accident in a loss."""
  with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
    yield
