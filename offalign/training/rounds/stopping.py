"""Stop a run in rounds whose samples get worse, as ReST stops."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from offalign.config import Config
from offalign.errors import UserError, option
from offalign.training.rounds.scoring import HELD_SCORE


@dataclasses.dataclass
class Stopping:
  """Follows the held-out score, and says when it has fallen.

  Attributes:
    after: evaluations in a row, all below the best before, that end a run.
    scores: the step of each evaluation -> its score.
  """

  after: int
  scores: dict[int, float] = dataclasses.field(default_factory=dict)

  @classmethod
  def of(
    cls, config: Config, lines: Iterable[Mapping[str, Any]], begin: int
  ) -> "Stopping | None":
    """What follows the scores of a run; None where none was asked for.

    Args:
      config: of the run.
      lines: that it has logged before.
      begin: the step that it goes on after; later lines do not count.
    """
    grow = config.grow
    if grow is None or grow.stop is None:
      return None
    made = cls(grow.stop)
    for line in lines:
      if line["step"] <= begin:
        made.note(line["step"], line)
    return made

  def note(self, step: int, held: Mapping[str, float]) -> None:
    """Notes the held-out metrics after a step, where the score is in them."""
    if HELD_SCORE in held:
      self.scores[step] = held[HELD_SCORE]

  @property
  def best(self) -> tuple[int, float] | None:
    """The step and the score of the best; of equal ones, the last."""
    if not self.scores:
      return None
    return max(self.scores.items(), key=lambda pair: (pair[1], pair[0]))

  @property
  def has_fallen(self) -> bool:
    """Whether the newest scores are all below the best."""
    if self.best is None:
      return False
    since = sum(step > self.best[0] for step in self.scores)
    return since >= self.after

  @property
  def sentence(self) -> str:
    """Why a run ends before its last step; marked."""
    assert self.best is not None
    step = max(self.scores)
    return (
      f"step {step}: the held-out score is {self.scores[step]:.4g}, and was "
      f"{self.best[1]:.4g} after step {self.best[0]}: the run ends here "
      f"({option('grow.stop', self.after)})"
    )


def check(config: Config, *, scores: bool) -> None:
  """Refuses to stop by a score that nobody measures.

  Args:
    config: of the run.
    scores: whether evaluations have a held-out score.

  Raises:
    UserError: where they have none.
  """
  grow = config.grow
  if grow is None or grow.stop is None or scores:
    return
  raise UserError(
    f"{option('grow.stop', grow.stop)} is set, but no held-out prompt is "
    f"completed and scored: hold some out ({option('data.eval_fraction')}) and "
    f"leave {option('grow.eval_prompts')} above 0, or leave it out"
  )
