"""The example package's loss: installed, found, checked, on the benchmark."""

import sys

import pytest

from benchmarks import methods
from offalign import losses
from offalign.losses import registry
from offalign.testing import check_loss


@pytest.fixture
def found(installed, own_registry, monkeypatch):
  """The package on the path, in a process that has looked no name up yet."""
  monkeypatch.syspath_prepend(str(installed))
  monkeypatch.setattr(registry, "_loaded", False)
  yield
  sys.modules.pop("offalign_focal", None)


def test_it_is_found_without_an_import(found):
  assert "focal_dpo" in losses.names()
  loss = losses.get("focal_dpo(gamma=1) + 0.1*sft")
  assert str(loss) == "focal_dpo(gamma=1.0) + 0.1*sft(on=chosen)"


def test_it_keeps_the_contracts(found):
  check_loss("focal_dpo")


def test_it_stands_on_the_benchmark(found):
  names = [method.name for method in methods.choose(methods.OPS, "all")]
  assert "focal_dpo" in names


def test_without_the_package_there_is_no_such_loss():
  assert "focal_dpo" not in losses.names()
