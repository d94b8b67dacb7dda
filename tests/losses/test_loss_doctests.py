"""The examples in the docstrings of the losses are true."""

import doctest
import importlib
import pkgutil

import pytest

import offalign.losses

MODULES = [
  "offalign.testing.losses.contracts",
  "offalign.spec",
  "offalign.testing.losses.arrays",
  *(
    module.name
    for module in pkgutil.iter_modules(
      offalign.losses.__path__, "offalign.losses."
    )
  ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
  result = doctest.testmod(importlib.import_module(name))
  assert result.failed == 0


@pytest.mark.parametrize(
  "name",
  [
    "offalign.testing.losses.contracts",
    "offalign.losses.registry",
    "offalign.spec",
    "offalign.testing.losses.arrays",
  ],
)
def test_there_are_examples(name):
  assert doctest.testmod(importlib.import_module(name)).attempted > 0
