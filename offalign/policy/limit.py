"""Limit of completions in tokens, where the user gives none.

It is no shorter than the longest completion that a run was trained on, so
that a policy can end where its training data did.
"""

import dataclasses
from typing import Any

from offalign.config.data import DataConfig
from offalign.errors import UserError, option
from offalign.models.base import Model

FALLBACK = DataConfig.max_completion
"""Tokens, where nothing is known of the training data."""
LONGEST = "longest_completion"
"""The key of run.json: tokens of the longest completion, before any cut."""


@dataclasses.dataclass(frozen=True)
class Limit:
  """The most tokens of a completion.

  Attributes:
    tokens: at least 1.
    why: a sentence, where it is not what a user would expect; else "".
  """

  tokens: int
  why: str = ""


def of_data(max_completion: int, longest: int) -> int:
  """The limit of a run, from what it was trained on.

  A run that names a limit of its own keeps it. One that was left at the
  default may have cut completions, and they are not to be cut again.

  Args:
    max_completion: of the run's options.
    longest: tokens of its longest completion, before any cut.
  """
  if max_completion == FALLBACK:
    return max(max_completion, longest)
  return max_completion


def of_run(about: dict[str, Any]) -> Limit:
  """The limit of a run, from its run.json."""
  given = about["config"].get("data.max_completion") or FALLBACK
  longest = about.get(LONGEST)
  if type(longest) is int and longest > 0:
    return Limit(of_data(given, longest))
  return Limit(
    given,
    "the run does not say how long the completions were that it was trained "
    f"on, as those of earlier versions do not: {given:,} tokens at most; "
    f"{option('max_new_tokens')} sets another limit",
  )


def of_model(name: str) -> Limit:
  """The limit of a model that no run trained."""
  return Limit(
    FALLBACK,
    f"{FALLBACK:,} tokens at most, since {name} is a model folder, which does "
    f"not say how long completions are; {option('max_new_tokens')} sets "
    "another limit",
  )


def bounded(
  limit: Limit, model: Model, prompt: int, name: str = "max_new_tokens"
) -> Limit:
  """A default limit, within the positions that the model was made for.

  Args:
    limit: the default.
    model: the policy's.
    prompt: tokens of the longest prompt.
    name: of the option that sets the limit.

  Raises:
    UserError: where the prompt leaves no room for a token.
  """
  positions = model.max_positions
  if positions is None or prompt + limit.tokens <= positions:
    return limit
  if prompt >= positions:
    raise UserError(
      f"the longest prompt takes {prompt:,} of the {positions:,} positions "
      "that the model was made for, which leaves no room for a completion: "
      f"shorten the prompts, or give {option(name)} if the model can go on"
    )
  room = positions - prompt
  return Limit(
    room,
    f"{room:,} tokens at most, not {limit.tokens:,}: the model was made for "
    f"{positions:,} positions, and the longest prompt takes {prompt:,}",
  )


def passes(tokens: int, model: Model, prompt: int) -> str:
  """A sentence on a given limit that the model was not made for; else ""."""
  positions = model.max_positions
  if positions is None or prompt + tokens <= positions:
    return ""
  return (
    f"note: a prompt of {prompt:,} tokens and {tokens:,} more pass the "
    f"{positions:,} positions that the model was made for"
  )
