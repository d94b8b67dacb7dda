"""Epochs as steps, and steps as epochs."""

import pytest

from offalign.config import Config
from offalign.config.config import check
from offalign.data import Sampler
from offalign.errors import UserError, render
from offalign.training import epochs


@pytest.mark.parametrize(
  ("asked", "rows", "batch", "steps"),
  [(2, 4000, 32, 250), (0.1, 1000, 10, 10), (0.3, 100, 10, 3),
   (1, 33, 32, 2), (0.001, 10, 10, 1)],
)  # fmt: skip
def test_epochs_become_steps(asked, rows, batch, steps):
  config = Config(out="o", epochs=asked, batch_size=batch)
  made = epochs.resolve(config, Sampler(rows, batch, seed=0))
  assert (made.steps, made.epochs) == (steps, None)


def test_neither_is_a_thousand_steps():
  made = epochs.resolve(Config(out="o"), Sampler(100, 32, seed=0))
  assert made.steps == 1000


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ({"epochs": 2, "steps": 5}, "epochs=2 is set beside steps=5; give one"),
    ({"epochs": 0}, "epochs must be a number above 0, not 0"),
    ({"epochs": -1.0}, "epochs must be a number above 0, not -1.0"),
  ],
)
def test_refusals(given, said):
  with pytest.raises(UserError) as error:
    check(Config(out="o", **given))
  assert render(error.value) == said


def test_few_steps_are_refused_where_a_trace_needs_more():
  config = Config(out="o", epochs=0.1, batch_size=10, profile=5)
  check(config)
  with pytest.raises(UserError, match="profile=5 cannot be traced"):
    epochs.resolve(config, Sampler(100, 10, seed=0))


def test_the_sentence():
  sampler = Sampler(4000, 32, seed=0)
  assert epochs.describe(300, sampler) == (
    "300 steps of 32 are 2.4 epochs of 4,000 rows"
  )
  assert epochs.describe(125, sampler) == (
    "125 steps of 32 are 1 epoch of 4,000 rows"
  )
