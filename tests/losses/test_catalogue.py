"""docs/losses.md is what the registry says today."""

import pathlib

from offalign import losses
from offalign.losses import catalogue

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "losses.md"


def test_the_page_is_up_to_date():
  assert PAGE.read_text() == catalogue.render(), (
    "run: python -m offalign.losses.catalogue > docs/losses.md"
  )


def test_every_loss_has_its_own_words():
  for name in losses.names():
    definition = losses.definition(name)
    assert definition.formula
    assert definition.paper
    assert "Args:" in definition.fn.__doc__
    assert "Returns:" in definition.fn.__doc__
    for option in definition.defaults:
      assert f"{option}:" in definition.fn.__doc__, (name, option)
