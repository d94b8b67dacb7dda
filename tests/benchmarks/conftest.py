"""What several tests of the benchmarks share."""

import pytest

from benchmarks import ops, ops_sizes


@pytest.fixture
def small(monkeypatch, compiled_once):
  """The ops track at a size that runs in seconds."""
  sizes = {
    "PROMPTS": 16,
    "STEPS": 4,
    "CURVE_EVERY": 2,
    "SFT_PROMPTS": 64,
    "SFT_STEPS": 3,
    "TEST": 20,
    "VALIDATION": 10,
    "ORACLE_SAMPLES": 16,
  }
  for name, value in sizes.items():
    monkeypatch.setattr(ops_sizes, name, value)
  ops.forget()
  yield
  ops.forget()
