"""Fixtures of the loss tests."""

import pytest

from offalign.losses import registry


@pytest.fixture
def own_registry(monkeypatch):
  """A copy of the registry of losses that the test may change."""
  own = dict(registry._definitions)
  monkeypatch.setattr(registry, "_definitions", own)
  return own
