"""What a round is: the rows that some steps in a row train on.

Between rounds anything that is data may be made anew: rows, rewards, the
log-probs under the policy that wrote them and under the reference. Within a
round nothing changes. A run on a log has one round.
"""

import dataclasses
from typing import Protocol

from offalign.data import Sampler
from offalign.errors import UserError
from offalign.training.batches import Batches
from offalign.types import Params


class Unscored(UserError):
  """The samples of a round could not be scored, or make no rows."""


@dataclasses.dataclass(frozen=True)
class Round:
  """The rows of some steps in a row.

  Attributes:
    first: the first of its steps, from 1.
    data: its "train" rows, with all columns that the loss reads.
    sampler: which rows each step has.
    metrics: to be logged with its first step; {} = nothing.
    reference: the reference's weights, where the steps run one that moves; see
      `Learner.step`.
  """

  first: int
  data: Batches
  sampler: Sampler
  metrics: dict[str, float] = dataclasses.field(default_factory=dict)
  reference: Params | None = None


class Rounds(Protocol):
  """Gives the steps of a run their rows."""

  @property
  def held(self) -> Batches:
    """The rows to evaluate on, which are the same in all rounds."""
    ...

  def begins(self, step: int) -> bool:
    """Whether a step, from 1, is the first of a round."""
    ...

  def enter(self, step: int, policy: Params) -> Round:
    """Makes the rows of a step's round, or reads what was made before.

    Args:
      step: from 1; the first of a round, or the one that a run goes on with.
      policy: the weights before the step, in the form that the model takes.

    Raises:
      Unscored: where the round has no rows to train on.
      Stopped: where the run was asked to stop.
    """
    ...

  def evaluate(self, step: int, policy: Params) -> dict[str, float]:
    """Held-out metrics of what the policy writes; {} where none are due."""
    ...

  def count_tokens(self, steps: int) -> int:
    """Counts the tokens that the first steps of the run trained on."""
    ...


class Once:
  """The only round of a run that trains on a log.

  Attributes:
    held: its rows, of which some are held out.
  """

  def __init__(self, data: Batches, sampler: Sampler):
    """Takes the rows.

    Args:
      data: with all columns that the loss reads.
      sampler: which rows each step has.
    """
    self.held, self._sampler = data, sampler

  def begins(self, step: int) -> bool:
    """See `Rounds`."""
    return step == 1

  def enter(self, step: int, policy: Params) -> Round:
    """See `Rounds`."""
    del step, policy
    return Round(1, self.held, self._sampler)

  def evaluate(self, step: int, policy: Params) -> dict[str, float]:
    """See `Rounds`: there are none."""
    del step, policy
    return {}

  def count_tokens(self, steps: int) -> int:
    """See `Rounds`."""
    drawn = map(self._sampler.indices, range(steps))
    return sum(map(self.held.train.count_tokens, drawn))
