"""Which steps make a round, and how many rounds a run has."""

import dataclasses

import numpy as np

from offalign.config import Config
from offalign.config.config import check_steps
from offalign.config.grow import parse_thresholds
from offalign.data import Sampler
from offalign.errors import UserError, option


def resolve(config: Config) -> Config:
  """Fills in steps, rounds and the steps of a round from one another.

  Raises:
    UserError: where they contradict each other.
  """
  grow = config.grow
  assert grow is not None
  if config.epochs is not None:
    raise UserError(
      f"{option('epochs', f'{config.epochs:g}')} is set, but rounds have rows "
      f"of their own: give {option('grow.rounds')} and {option('grow.every')}"
    )
  steps, rounds, every = config.steps, grow.rounds, grow.every
  if every is None:
    parts = max(len(parse_thresholds(grow.thresholds)), 1)
    every = parts
    if rounds is not None and steps is not None:
      every = -(-steps // rounds)
      if every < parts:
        raise UserError(
          f"{option('grow.thresholds', grow.thresholds)} are {parts} parts of "
          f"a round, and {option('steps', steps)} in {rounds} rounds leave "
          f"{every} steps for one"
        )
  if steps is None:
    steps = config.last_step if rounds is None else rounds * every
  if rounds is None:
    rounds = -(-steps // every)
  if -(-steps // every) != rounds:
    raise UserError(
      f"{option('steps', steps)} are not {option('grow.rounds', rounds)} of "
      f"{every} steps each ({option('grow.every')}): give two of them"
    )
  check_steps(config, steps)
  grown = dataclasses.replace(grow, rounds=rounds, every=every)
  return dataclasses.replace(config, steps=steps, grow=grown)


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Steps, rounds and the parts of a round; all of them from 1.

  Attributes:
    every: steps of a round.
    parts: of a round, which have rows of their own; at most `every`.
  """

  every: int
  parts: int = 1

  def round_of(self, step: int) -> int:
    """The round of a step."""
    return (step - 1) // self.every + 1

  def part_of(self, step: int) -> int:
    """The part of its round that a step is in."""
    at = (step - 1) % self.every
    begins = (i * self.every // self.parts for i in range(self.parts))
    return sum(begin <= at for begin in begins)

  def first(self, number: int, part: int = 1) -> int:
    """The first step of a round's part; after the last part, of the next."""
    before = (part - 1) * self.every // self.parts
    return (number - 1) * self.every + before + 1

  def steps(self, number: int, part: int = 1) -> range:
    """The steps of a round's part, counted from 0 as samplers do."""
    return range(self.first(number, part) - 1, self.first(number, part + 1) - 1)

  def begins(self, step: int) -> bool:
    """Whether a step is the first of a part of a round."""
    number = self.round_of(step)
    return step == self.first(number, self.part_of(step))


@dataclasses.dataclass(frozen=True)
class RoundSampler(Sampler):
  """Batches of a round's rows, of which there may be less than a batch has.

  Attributes:
    begin: the first step that it serves, from 0.
    epochs_a_step: what share of all prompts a step uses, for `epoch`.
  """

  begin: int = 0
  epochs_a_step: float = 0.0

  def __post_init__(self) -> None:
    """Checks nothing: few rows are drawn several times in a batch."""

  def indices(self, step: int) -> np.ndarray:
    """int64 [batch_size], the rows of a step of the run, from 0."""
    return super().indices(step - self.begin)

  def epoch(self, step: int) -> float:
    """How often each prompt of the run was completed before a step."""
    return step * self.epochs_a_step
