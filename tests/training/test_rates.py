"""Learning rates that fit the start, where none are given."""

import pathlib

import pytest

from offalign import losses
from offalign.config import Config
from offalign.errors import render
from offalign.learner.optim import OptimizerConfig
from offalign.models.lora import LoraConfig
from offalign.policy.start import Parent
from offalign.training import rates

PARENT = Parent(pathlib.Path("runs/sft"), {"config": {}}, 4)
DRO_V, DPO = losses.get("dro_v"), losses.get("dpo")


def found(config, known=None, parent=None, loss=DRO_V):
  made, said = rates.resolve(config, known, parent, loss)
  optimizer = made.optimizer
  return optimizer.learning_rate, optimizer.value_learning_rate, said


@pytest.mark.parametrize(
  ("options", "parent", "loss", "policy", "value"),
  [
    ({}, None, DRO_V, 3e-4, None),
    ({"lora": LoraConfig()}, None, DRO_V, 3e-4, None),
    ({"model": "org/name"}, None, DRO_V, 1e-5, 3e-4),
    ({}, PARENT, DRO_V, 1e-5, 3e-4),
    ({}, PARENT, DPO, 1e-5, None),
    ({"lora": LoraConfig()}, PARENT, DRO_V, 1e-4, 3e-4),
    ({"lora": LoraConfig()}, PARENT, DPO, 1e-4, None),
    ({"optimizer": OptimizerConfig("adafactor")}, PARENT, DRO_V, 1e-4, None),
  ],
)
def test_defaults(options, parent, loss, policy, value):
  rate, of_value, said = found(Config(**options), None, parent, loss)
  assert (rate, of_value) == (policy, value)
  (sentence,) = said
  assert f"learning rate {policy:g}" in sentence
  assert (f"of the value {value}" in sentence) == (value is not None)


def test_what_is_given_is_kept():
  both = OptimizerConfig(learning_rate=0.5)
  assert found(Config(optimizer=both), None, PARENT) == (0.5, None, [])
  value = OptimizerConfig(value_learning_rate=0.5)
  assert found(Config(optimizer=value), None, PARENT)[:2] == (1e-5, 0.5)


def test_a_run_that_goes_on_has_its_own():
  known = {
    "config": {
      "optimizer.learning_rate": 3e-4,
      "optimizer.value_learning_rate": None,
    }
  }
  assert found(Config(), known, PARENT) == (3e-4, None, [])
  other = Config(optimizer=OptimizerConfig(learning_rate=0.5))
  assert found(other, known, PARENT) == (0.5, None, [])


def test_the_sentence():
  (said,) = found(Config(), None, PARENT)[2]
  assert render(said) == (
    "learning rate 1e-05, of the value 0.0003 since it is new: the default for "
    "all weights of a trained policy (between TRL's 1e-06 for DPO and KTO and "
    "its 2e-05 for SFT); optimizer.learning_rate sets another"
  )
