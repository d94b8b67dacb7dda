"""Judges: which of two completions is better, behind one small interface.

`make("gold(fn='my_file.py:score')")` returns one; see `base.Judge`.
Nothing here imports jax but the reward model, when it is made.
"""

import dataclasses
import pathlib
import re
import typing
from typing import Any

from offalign import spec as spec_lib
from offalign.errors import UserError, suggest
from offalign.judges.base import Judge, Prompt, Verdicts, as_text
from offalign.judges.endpoint.judge import EndpointJudge
from offalign.judges.endpoint.options import KEY, Endpoint
from offalign.judges.endpoint.rater import Rater
from offalign.judges.gold import Gold
from offalign.judges.ratings import Ratings
from offalign.judges.reward_model import RewardModel, RewardModelJudge

__all__ = [
  "KEY",
  "Endpoint",
  "EndpointJudge",
  "Gold",
  "Judge",
  "Prompt",
  "Rater",
  "Ratings",
  "RewardModel",
  "RewardModelJudge",
  "Verdicts",
  "as_text",
  "check",
  "make",
  "names",
  "options",
]

_OPTIONS: dict[str, type] = {
  "endpoint": Endpoint,
  "gold": Gold,
  "ratings": Ratings,
  "reward_model": RewardModel,
}

_FUNCTION = re.compile(r"[^()'\"=]+\.py:\w+")  # a function in a file


def names() -> list[str]:
  """The judges there are."""
  return sorted(_OPTIONS)


def check(spec: str) -> None:
  """Sees that a spec can be read; loads no model, and asks nobody.

  Raises:
    UserError: see `make`.
  """
  options(spec)


def make(spec: str, folder: str | pathlib.Path | None = None) -> Judge:
  """Makes the judge that a spec names.

  Args:
    spec: "gold(fn='my_file.py:function')" or "my_file.py:function" alone,
      "reward_model(run='DIR')", "ratings(file='FILE')" or
      "endpoint(url='https://...', model='NAME')", with further options as
      their classes list them.
    folder: where an endpoint's answers are kept, so that none is paid for
      twice; None = in memory.

  Raises:
    UserError: for a spec that cannot be read, or names nothing.
  """
  made = options(spec)
  if isinstance(made, Endpoint):
    cls = EndpointJudge if made.rubric is None else Rater
    return cls(made, folder)
  if isinstance(made, RewardModel):
    return RewardModelJudge(made)
  return typing.cast(Judge, made)


def options(spec: str) -> Any:
  """What a spec says: `Endpoint`, `Gold`, `Ratings` or `RewardModel`.

  Raises:
    UserError: see `make`.
  """
  if _FUNCTION.fullmatch(spec):
    return Gold(spec)
  name, options = spec_lib.parse(spec, "judge")
  if name not in _OPTIONS:
    raise UserError(
      f"there is no judge {name!r}{suggest(name, names())} (there is: "
      f"{', '.join(names())})"
    )
  cls = _OPTIONS[name]
  fields = [field for field in dataclasses.fields(cls) if field.init]
  chosen = spec_lib.choose(
    f"judge {name!r}",
    {field.name: field.default for field in fields},
    typing.get_type_hints(cls),
    options,
  )
  return cls(**chosen)
