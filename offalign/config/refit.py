"""Options of refitting: the reward model is trained further between rounds."""

import dataclasses
import typing

from offalign import spec as spec_lib
from offalign.errors import UserError

_WHO = "refit"


@dataclasses.dataclass(frozen=True)
class Refit:
  """How the reward model of rounds is trained further (arXiv:2402.03300, 1).

  Attributes:
    judge: who says which of two samples is better, as `offalign judge` spells
      it: a function, another run's reward model, or an endpoint.
    every: rounds from one refit to the next.
    pairs: pairs of the newest round's samples that the judge is shown.
    steps: updates of a refit.
    replay: the share of a batch that is drawn from the reward model's own
      first data; 0 = none.
  """

  judge: str = ""
  every: int = 1
  pairs: int = 64
  steps: int = 50
  replay: float = 0.5

  def __post_init__(self) -> None:
    """Checks the options.

    Raises:
      UserError: naming the option.
    """
    if not self.judge:
      raise UserError(
        f"{_WHO} needs a judge, which labels new samples: write it like "
        "refit(judge='my_file.py:function')"
      )
    for name in ("every", "pairs", "steps"):
      if getattr(self, name) < 1:
        raise UserError(
          f"{_WHO}: {name} must be at least 1, not {getattr(self, name)}"
        )
    if not 0 <= self.replay < 1:
      raise UserError(
        f"{_WHO}: replay must be from 0 to below 1, not {self.replay:g}: with "
        "first data alone nothing new is learned"
      )

  def before(self, number: int) -> int | None:
    """The last border at or before a round at which there is a refit.

    Args:
      number: of the round, from 1.

    Returns:
      The round that begins there; None where there was none yet.
    """
    times = (number - 1) // self.every
    return times * self.every + 1 if times else None


def parse(spec: str) -> Refit:
  """Reads `refit(judge='my_file.py:function', every=2)`.

  Raises:
    UserError: for a spec that cannot be read.
  """
  name, options = spec_lib.parse(spec, _WHO)
  if name != _WHO:
    raise UserError(
      f"{name!r} is no refit: write it like "
      "refit(judge='my_file.py:function', steps=50)"
    )
  fields = dataclasses.fields(Refit)
  chosen = spec_lib.choose(
    _WHO,
    {field.name: field.default for field in fields},
    typing.get_type_hints(Refit),
    options,
  )
  return Refit(**chosen)
