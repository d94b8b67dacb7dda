"""The length of a run: steps, or epochs as steps, and a word on both."""

import dataclasses
import math

from offalign.config import Config
from offalign.config.config import check_steps
from offalign.data import Sampler


def resolve(config: Config, sampler: Sampler) -> Config:
  """Turns epochs into steps, of which the last may begin another epoch.

  Args:
    config: the flags.
    sampler: draws the training rows.

  Returns:
    The flags with steps, and without epochs.

  Raises:
    UserError: where other flags do not fit so few steps.
  """
  steps = config.last_step
  if config.epochs is not None:
    # Less a part in 10^9, so that the rounding of 0.1 makes no step of its own.
    exact = config.epochs * sampler.n / sampler.batch_size
    steps = max(math.ceil(exact * (1 - 1e-9)), 1)
    check_steps(config, steps)
  return dataclasses.replace(config, steps=steps, epochs=None)


def describe(steps: int, sampler: Sampler) -> str:
  """Says how many epochs the steps are.

  >>> describe(300, Sampler(4000, 32, seed=0))
  '300 steps of 32 are 2.4 epochs of 4,000 rows'

  Args:
    steps: of the whole run.
    sampler: draws the training rows.
  """
  epochs = f"{sampler.epoch(steps):.3g}"
  return (
    f"{steps:,} steps of {sampler.batch_size} are {epochs} "
    f"epoch{'' if epochs == '1' else 's'} of {sampler.n:,} rows"
  )
