"""Fixtures of the loss tests."""

import jax
import pytest

from offalign.losses import registry


@pytest.fixture
def own_registry(monkeypatch):
  """A copy of the registry of losses that the test may change."""
  own = dict(registry._definitions)
  monkeypatch.setattr(registry, "_definitions", own)
  return own


@pytest.fixture(autouse=True)
def _strict():
  """Arrays of unlike ranks or dtypes do not meet by accident in a loss."""
  with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
    yield
