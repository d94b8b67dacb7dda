"""The example package's model: installed, found, checked."""

import sys

import pytest

from offalign import models
from offalign.errors import UserError
from offalign.models import registry
from offalign.testing import check_model


@pytest.fixture
def found(installed, own_models, monkeypatch):
  """The package on the path, in a process that has looked no name up yet."""
  monkeypatch.syspath_prepend(str(installed))
  monkeypatch.setattr(registry, "_loaded", False)
  yield
  sys.modules.pop("offalign_bag", None)


def test_it_is_found_without_an_import(found):
  assert models.names() == ["bag", "decoder", "t5"]
  assert models.make("bag(width=4)", vocab_size=9).spec == "bag(width=4)"


def test_it_keeps_the_contracts(found):
  check_model("bag(width=12)")


def test_without_the_package_there_is_no_such_model():
  with pytest.raises(UserError, match="there is no model 'bag'"):
    models.make("bag", vocab_size=9)
