"""Learning rates that fit what a run trains, where none are given.

The numbers are taken from the sources named here. The sweep of
`benchmarks/results/sentiment`, 20 updates of a model of 135M parameters, liked
ten times as much for all weights and for LoRA alike; the defaults are lower,
since most runs have many times as many updates. docs/training.md says so.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from offalign.config import Config
from offalign.errors import option
from offalign.learner import optim
from offalign.learner.optim import OptimizerConfig
from offalign.losses import Loss
from offalign.models.lora import LoraConfig
from offalign.policy import start
from offalign.policy.start import Parent

TRAINED = 1e-5
"""All weights of a trained policy, with Adam.

Between TRL's 1e-6 for DPO and KTO and its 2e-5 for SFT; in this project's
runs on long completions 1e-5 learned where 1e-4 diverged.
"""

LORA = 1e-4
"""Adapters on a trained policy: ten times that, as Schulman et al., "LoRA
Without Regret", 2025, find best."""

ADAFACTOR = 1e-4
"""All weights of a trained policy, and its value, with Adafactor: that of the
DRO paper on T5 (arXiv:2405.19107, section 4)."""


@dataclasses.dataclass(frozen=True)
class Rates:
  """Learning rates, and why.

  Attributes:
    policy: of the policy.
    value: of the value function.
    what: what is trained.
    source: where the numbers are from.
  """

  policy: float
  value: float
  what: str
  source: str


def fitting(
  optimizer: str, *, new: bool, lora: LoraConfig | None = None
) -> Rates:
  """The rates that fit a start.

  Args:
    optimizer: "adam" or "adafactor".
    new: whether the policy's weights are new.
    lora: of the adapters, where they alone are trained.
  """
  if new:
    return Rates(
      optim.NEW,
      optim.NEW,
      "new weights",
      "at which this project's small models learn",
    )
  what = (
    "LoRA on a trained policy" if lora else "all weights of a trained policy"
  )
  if optimizer == "adafactor":
    return Rates(ADAFACTOR, ADAFACTOR, what, "the DRO paper's on T5")
  if lora is not None:
    source = "ten times that of all weights"
    return Rates(LORA, optim.NEW, what, source)
  source = "between TRL's 1e-06 for DPO and KTO and its 2e-05 for SFT"
  return Rates(TRAINED, optim.NEW, what, source)


def resolve(
  config: Config,
  known: Mapping[str, Any] | None,
  parent: Parent | None,
  loss: Loss,
) -> tuple[Config, list[str]]:
  """Fills in the learning rates that were not given.

  Args:
    config: the flags.
    known: the run.json of a run that goes on, which has used its rates.
    parent: the run to start from.
    loss: whether there is a value function.

  Returns:
    The flags with the rates, and a sentence on those that were chosen.
  """
  if known is None:
    chosen, said = _chosen(config, parent, loss.needs_value)
  else:
    chosen, said = _recorded(config.optimizer, known["config"]), []
  return dataclasses.replace(config, optimizer=chosen), said


def _recorded(
  given: OptimizerConfig, config: Mapping[str, Any]
) -> OptimizerConfig:
  """What is not given, as the run has it."""
  rates: dict[str, Any] = {
    name: config.get(f"optimizer.{name}")
    for name in ("learning_rate", "value_learning_rate")
    if getattr(given, name) is None
  }
  return dataclasses.replace(given, **rates)


def _chosen(
  config: Config, parent: Parent | None, value: bool
) -> tuple[OptimizerConfig, list[str]]:
  given = config.optimizer
  if given.learning_rate is not None:
    return given, []  # the value's is the same where it is not given
  new = start.is_untrained(config, parent)
  fit = fitting(given.name, new=new, lora=config.lora)
  chosen = dataclasses.replace(given, learning_rate=fit.policy)
  said = f"learning rate {fit.policy:g}"
  if value and given.value_learning_rate is None and fit.value != fit.policy:
    chosen = dataclasses.replace(chosen, value_learning_rate=fit.value)
    said += f", of the value {fit.value:g} since it is new"
  return chosen, [
    f"{said}: the default for {fit.what} ({fit.source}); "
    f"{option('optimizer.learning_rate')} sets another"
  ]
