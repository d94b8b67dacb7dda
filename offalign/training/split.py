"""Which prompts a run holds out: by a seed of its own, as its parent did."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from offalign.config import Config
from offalign.data.reading.records import Prompt, quote
from offalign.errors import UserError, option
from offalign.policy import held_out
from offalign.policy.held_out import Known
from offalign.policy.start import Parent

SEED = "data.split_seed"
_NAMED = 10  # prompts that a warning names


@dataclasses.dataclass(frozen=True)
class Split:
  """How the held-out prompts of a run are chosen.

  Attributes:
    seed: chooses them.
    parent: the run that this one starts from; "" = none.
    known: the prompts of the parent, where it has written them down.
    inherits: whether what the parent holds out is held out here too.
  """

  seed: int
  parent: str = ""
  known: Known | None = None
  inherits: bool = False

  def choose(
    self, lots: Sequence[Prompt], drawn: set[Prompt], alike: Any = None
  ) -> set[Prompt]:
    """The prompts to hold out.

    Those that the parent holds out come first, then ones that it has not
    seen. Where all were trained on there, they are drawn as without a parent,
    which `leaks` says.

    Args:
      lots: distinct prompts in the order in which they are drawn.
      drawn: those that are held out without a parent.
      alike: a prompt -> the first that is the same tokens; None = all are
        different.

    Raises:
      UserError: where the parent holds out all of them.
    """
    if self.known is None or not self.inherits:
      return drawn
    was_held = _in(self.known.held, alike)
    was_trained = _in(self.known.trained, alike)
    kept = [prompt for prompt in lots if was_held(prompt)]
    if len(kept) == len(lots):
      raise UserError(
        f"{self.parent} holds out all of the {len(lots):,} prompts, so that "
        f"none is left to train on: name other data, or give {option(SEED)} to "
        "hold out others"
      )
    first = set(kept)
    new = [p for p in lots if p not in first and not was_trained(p)]
    kept += new[: min(max(len(drawn) - len(kept), 0), len(lots) - 1)]
    return set(kept) or drawn

  def inherited(self, prompts: Iterable[Prompt]) -> int:
    """How many of the prompts the parent holds out, where that counts."""
    if self.known is None or not self.inherits:
      return 0
    return sum(held_out.number(prompt) in self.known.held for prompt in prompts)


def _in(
  numbers: frozenset[int], alike: Mapping[Prompt, Prompt] | None
) -> Callable[[Prompt], bool]:
  """Whether a prompt, or one of the same tokens, is among those hashed."""
  if alike is None:
    return lambda prompt: held_out.number(prompt) in numbers
  found = {
    alike[prompt] for prompt in alike if held_out.number(prompt) in numbers
  }
  return lambda prompt: prompt in found


def resolve(
  config: Config, known: Mapping[str, Any] | None, parent: Parent | None
) -> tuple[Config, Split, list[str]]:
  """Chooses the seed of the split, and reads what the parent held out.

  A run that goes on keeps its own; one of an earlier version had the run's
  seed for it. A new run has that of its parent, else 0.

  Args:
    config: the flags.
    known: the run.json of a run that goes on.
    parent: the run to start from.

  Returns:
    The flags with the seed, the split, and sentences on it.

  Raises:
    UserError: for a seed that nothing would read, or a damaged file.
  """
  data, given = config.data, config.data.split_seed
  nothing = data.eval_path is None and data.eval_fraction == 0
  if given is not None and nothing:
    raise UserError(
      f"{option(SEED, given)} has no effect beside "
      f"{option('data.eval_fraction', 0)}; leave one of them out"
    )
  seed = given
  if seed is None and known is not None:
    seed = recorded_seed(known)
  elif seed is None:
    seed = 0 if parent is None else recorded_seed(parent.about)
  recorded = None if nothing else seed
  config = dataclasses.replace(
    config, data=dataclasses.replace(data, split_seed=recorded)
  )
  began_without = known is not None and SEED not in known["config"]
  if parent is None or began_without:
    return config, Split(seed), []
  before = held_out.read_known(parent.folder)
  inherits = before is not None and seed == recorded_seed(parent.about)
  said = []
  if before is None:
    said.append(
      f"{parent.folder} was begun by a version that did not write down its "
      "prompts, so whether it trained on prompts that are held out here is not "
      "known"
    )
  return config, Split(seed, str(parent.folder), before, inherits), said


def recorded_seed(about: Mapping[str, Any]) -> int:
  """The seed of a run's split, by its run.json; 0 where nothing was split."""
  config = about["config"]
  return int(config[SEED] or 0) if SEED in config else int(config["seed"])


def leaks(
  trained: Sequence[Prompt], held: Sequence[Prompt], split: Split
) -> list[str]:
  """Warns of prompts on one side here and on the other in the parent.

  Args:
    trained: the distinct prompts that are trained on.
    held: those that are held out.
    split: with what is known of the parent.
  """
  if split.known is None:
    return []
  said = []
  for prompts, numbers, what, why in (
    (
      trained,
      split.known.held,
      f"prompts to train on are held out by {split.parent}",
      "which from now on is no test of this policy",
    ),
    (
      held,
      split.known.trained,
      f"held-out prompts were trained on by {split.parent}",
      "so held-out figures flatter the run",
    ),
  ):
    met = [p for p in prompts if held_out.number(p) in numbers]
    if not met:
      continue
    named = ", ".join(map(quote, met[:_NAMED]))
    more = f" and {len(met) - _NAMED:,} more" if len(met) > _NAMED else ""
    cure = ""
    if not split.inherits:
      cure = f"; without {option(SEED)}, this run holds out what that one does"
    said.append(
      f"warning: {len(met):,} of the {len(prompts):,} {what}, {why}: "
      f"{named}{more}{cure}"
    )
  return said
