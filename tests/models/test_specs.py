"""Asking for a model by spec."""

import dataclasses

import pytest

from offalign import models
from offalign.errors import UserError


@pytest.mark.parametrize(
  ("asked", "canonical"),
  [
    ("decoder", "decoder"),
    ("decoder(layers=2, width=96)", "decoder(width=96)"),
    (
      "decoder(tied=True, max_positions=9, positions='learned')",
      "decoder(positions=learned, max_positions=9, tied=True)",
    ),
    ("t5( head_dim = 8,width=32 )", "t5(width=32, head_dim=8)"),
  ],
)
def test_specs_round_trip(asked, canonical):
  model = models.make(asked, vocab_size=25)
  assert model.spec == canonical
  again = models.make(model.spec, vocab_size=25)
  assert (again.spec, again.width) == (canonical, model.width)
  assert model.vocab_size == 25


@pytest.mark.parametrize(
  ("spec", "error"),
  [
    ("decodr", "no model 'decodr'; did you mean 'decoder'.*decoder, t5"),
    ("decoder(", "model spec 'decoder.' cannot be read: .*'t5"),
    ("decoder(64)", "option without a name"),
    ("decoder(witdh=64)", "'witdh'; did you mean 'width'.*max_positions"),
    ("decoder(vocab_size=9)", "no option 'vocab_size'"),
    ("decoder(width=64.5)", "width must be a whole number, not 64.5"),
    ("decoder(positions=alibi)", "one of rope, learned"),
    ("decoder(heads=0)", "heads must be at least 1, not 0"),
    ("decoder(width=66)", "model 'decoder': heads=4 do not divide width=66"),
    ("decoder(width=12)", "width=12 / heads=4 is odd"),
    ("decoder(positions=learned)", "needs max_positions"),
    ("decoder(max_positions=9)", "for positions=learned"),
    ("t5(buckets=6)", "buckets=6 is not a multiple of 4"),
    ("t5(max_distance=16)", "max_distance=16 must be above"),
  ],
)
def test_mistakes_are_explained(spec, error):
  with pytest.raises(UserError, match=error):
    models.make(spec, vocab_size=25)


def test_an_empty_vocabulary_is_refused():
  with pytest.raises(UserError, match="vocab_size must be at least 1"):
    models.make("t5", vocab_size=0)


def test_models_are_frozen_and_hashable():
  model = models.make("decoder", vocab_size=25)
  with pytest.raises(dataclasses.FrozenInstanceError):
    model.width = 3
  assert {model: 1}[model] == 1


def test_every_family_of_ours_has_a_name():
  assert models.names() == ["decoder", "t5"]
