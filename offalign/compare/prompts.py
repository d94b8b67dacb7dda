"""The prompts of a comparison: those that all runs held out, or a file's."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from offalign.compare.contestants import Contestant
from offalign.data.reading.records import count
from offalign.errors import UserError, option
from offalign.generation import completions
from offalign.generation.completions import Prompt
from offalign.policy import held_out

AT_MOST = 256
"""Held-out prompts that are compared, where nothing else is said."""


@dataclasses.dataclass(frozen=True)
class Asked:
  """The prompts that every policy completes.

  Attributes:
    prompts: distinct ones.
    source: a name for where they are from, such as "held-out prompts".
    said: sentences on what was left out.
  """

  prompts: tuple[Prompt, ...]
  source: str
  said: tuple[str, ...] = ()


def choose(
  contestants: Sequence[Contestant],
  file: str | None = None,
  limit: int | None = None,
  seed: int = 0,
) -> Asked:
  """The prompts that the policies are compared on.

  Args:
    contestants: the policies.
    file: JSON lines with "prompt"; None = the prompts that all runs among
      them held out.
    limit: so many of them at most; None = `AT_MOST` held-out ones, and all of
      a file.
    seed: chooses them, where there are more.

  Raises:
    UserError: where there is no prompt that all runs held out.
  """
  if file is not None:
    found, source = completions.read_prompts(file), pathlib.Path(file).name
    said: list[str] = []
  else:
    found, said = _shared(contestants)
    source, limit = "held-out prompts", AT_MOST if limit is None else limit
  if limit is not None and limit < len(found):
    said.append(
      f"{limit:,} of {count(len(found), 'prompt')} are compared "
      f"({option('limit')} sets another number)"
    )
    order = np.random.default_rng([seed, 3]).permutation(len(found))[:limit]
    found = tuple(found[i] for i in np.sort(order))
  return Asked(found, source, tuple(said))


def _shared(
  contestants: Sequence[Contestant],
) -> tuple[tuple[Prompt, ...], list[str]]:
  """The prompts that all runs held out, in the order of the first."""
  each: dict[str, tuple[Prompt, ...]] = {}
  for one in contestants:
    if not one.is_run:
      continue  # a model folder was trained on none of this
    path = pathlib.Path(one.path) / held_out.FILE
    if not path.exists():
      raise UserError(
        f"{one.path} has no {held_out.FILE}, so it is not known which prompts "
        f"it was not trained on: name prompts with {option('prompts', 'FILE')}"
      )
    each[one.name] = completions.read_prompts(path)
  if not each:
    raise UserError(
      "no run is among the policies, so that there are no held-out prompts: "
      f"name prompts with {option('prompts', 'FILE')}"
    )
  first, *rest = each.values()
  met = set(first).intersection(*rest)
  numbers = ", ".join(f"{name} {len(x):,}" for name, x in each.items())
  if not met:
    raise UserError(
      f"no prompt was held out by all runs ({numbers}): train them with the "
      f"same split, or name prompts with {option('prompts', 'FILE')}"
    )
  said = []
  if any(len(x) > len(met) for x in each.values()):
    said.append(
      f"{count(len(met), 'prompt')} held out by all runs (held out by each: "
      f"{numbers})"
    )
  return tuple(prompt for prompt in first if prompt in met), said
