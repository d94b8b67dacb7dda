"""Rewards of several aspects, added up by weights: `helpfulness=0.7, ...`.

The reward of a completion is sum_a w_a z_a over the aspects a that have a
weight, where z_a is the aspect's value with mean 0 and variance 1 over the
data, or the value itself. A completion that is below the least value of an
aspect has the lowest of all rewards, whatever its others are.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from offalign.data.reading.faults import Fault, describe
from offalign.data.reading.records import Record, count, quote
from offalign.errors import Sentence, UserError, option, suggest

Scaling = Literal["std", "none"]
_ENTRY = re.compile(r"\s*([^=:,]+?)\s*[=:]\s*([^=:,]+?)\s*")


@dataclasses.dataclass(frozen=True)
class Aspects:
  """How the aspects of a reward become one number.

  Attributes:
    weights: aspect -> weight.
    least: aspect -> least value; below it a completion has the lowest reward.
    scaling: "std" brings each aspect to mean 0 and variance 1 over the data
      before it is weighted, "none" leaves it in its own units.
  """

  weights: Mapping[str, float]
  least: Mapping[str, float] = dataclasses.field(default_factory=dict)
  scaling: Scaling = "std"

  @property
  def names(self) -> tuple[str, ...]:
    """Those that a row must have."""
    return tuple(dict.fromkeys((*self.weights, *self.least)))

  def read(self, value: Any, column: str = "reward") -> tuple[float, ...]:
    """A cell's values of `names`, in that order.

    Args:
      value: an object of aspects, or its JSON; each aspect is a number, or an
        object with a "Rating", as UltraFeedback has it.
      column: the cell's, for what is proposed.

    Raises:
      Fault: for no object, or naming an aspect that it lacks.
    """
    held = _object(value)
    if held is None:
      raise Fault(
        f"{describe(value)} where an object of aspects belongs, since "
        f"{option('reward_weights')} is set"
      )
    return tuple(self._one(held, name) for name in self.names)

  @staticmethod
  def _one(held: Mapping[str, Any], name: str) -> float:
    if name not in held:
      known = ", ".join(map(quote, list(held)[:20])) or "nothing"
      raise Fault(f"no aspect {name!r}{suggest(name, held)} (it has {known})")
    value = held[name]
    if isinstance(value, Mapping):
      value = value.get("Rating")
    found = _as_number(value)
    if found is None:
      raise Fault(f"aspect {name!r}: {describe(value)} where a number belongs")
    return found


def _as_number(value: Any) -> float | None:
  """A finite number, or text that holds one; else None."""
  if isinstance(value, bool) or not isinstance(value, int | float | str):
    return None
  try:
    found = float(value)
  except (ValueError, OverflowError):
    return None
  return found if math.isfinite(found) else None


@dataclasses.dataclass(frozen=True)
class Scales:
  """Means and deviations of aspects, and the lowest reward of the data.

  Attributes:
    names: of the aspects.
    means: [A], what is subtracted.
    deviations: [A], what is divided by; 1 for an aspect that never varies.
    lowest: reward of a completion that is below the least of an aspect.
  """

  names: tuple[str, ...]
  means: tuple[float, ...]
  deviations: tuple[float, ...]
  lowest: float


def parse(
  weights: str | None, least: str | None, scaling: str | None
) -> Aspects | None:
  """Reads the options of rewards with several aspects.

  >>> parse("helpfulness=0.7, harmless=0.3", None, None).weights
  {'helpfulness': 0.7, 'harmless': 0.3}

  Args:
    weights: aspect=weight, with commas between; None = rewards are numbers.
    least: aspect=value, the same way; None = none.
    scaling: "std" (the default) or "none".

  Raises:
    UserError: for an entry that is none, or an option without weights.
  """
  if weights is None:
    for name, given in (("reward_least", least), ("reward_scaling", scaling)):
      if given is not None:
        raise UserError(
          f"{option(name, repr(given))} is of rewards of several aspects, and "
          f"{option('reward_weights')} is not set; leave it out, or give "
          "weights"
        )
    return None
  if scaling not in (None, "std", "none"):
    raise UserError(
      f"{option('reward_scaling', repr(scaling))} is none of std, none"
    )
  found = _numbers("reward_weights", weights)
  if not any(found.values()):
    raise UserError(f"{option('reward_weights', repr(weights))} are all 0")
  return Aspects(
    found,
    {} if least is None else _numbers("reward_least", least),
    "none" if scaling == "none" else "std",
  )


def _numbers(name: str, text: str) -> dict[str, float]:
  found: dict[str, float] = {}
  for part in text.split(","):
    entry = _ENTRY.fullmatch(part)
    try:
      value = float(entry[2]) if entry else math.nan
    except ValueError:
      value = math.nan
    if entry is None or not math.isfinite(value):
      raise UserError(
        f"{option(name, quote(text, 80))}: {part.strip()!r} is not an aspect "
        "and a number, as in 'helpfulness=0.7, harmless=0.3'"
      )
    if entry[1] in found:
      raise UserError(
        f"{option(name, quote(text, 80))}: {entry[1]!r} is given twice"
      )
    found[entry[1]] = value
  return found


def as_text(value: Any) -> Any:
  """Weights as text: of a dict, {"helpfulness": 0.7}."""
  if not isinstance(value, Mapping):
    return value
  return ", ".join(f"{name}={number}" for name, number in value.items())


def _object(value: Any) -> Mapping[str, Any] | None:
  if isinstance(value, str) and value.lstrip()[:1] == "{":
    try:
      value = json.loads(value)
    except (ValueError, RecursionError):
      return None
  return value if isinstance(value, Mapping) else None


def unread(value: Any, column: str) -> str:
  """What is wrong with an object where a number belongs; "" for no object.

  Args:
    value: of the cell.
    column: the cell's.
  """
  held = _object(value)
  if not held:
    return ""
  names = [str(name) for name in held][:8]
  example = ", ".join(f"{name}=1" for name in names[:4])
  one = f"{column}={column}.{names[0]}"
  return (
    f"an object of several aspects ({', '.join(map(quote, names))}) where a "
    f"number belongs: say how they add up, "
    f"{option('reward_weights', repr(example))}, or read one of them, "
    f"{option('columns', repr(one))}"
  )


def combine(
  records: Sequence[Record], how: Aspects, scales: Scales | None = None
) -> tuple[list[Record], Scales, list[str]]:
  """Gives records with aspects their rewards.

  Args:
    records: with `aspects`.
    how: weights, least values and scaling.
    scales: those of the data that is trained on; None = of these records.

  Returns:
    The records with rewards, the scales, and sentences on what was done.
  """
  values = np.array([each for r in records for each in r.aspects or ()])
  names = how.names
  means, deviations = np.zeros(len(names)), np.ones(len(names))
  if scales is not None:
    means, deviations = np.array(scales.means), np.array(scales.deviations)
  elif how.scaling == "std":
    means, deviations = values.mean(axis=0), values.std(axis=0)
    # Rounding leaves a trace of a deviation where all are the same.
    same = values.max(axis=0) == values.min(axis=0)
    means = np.where(same, values[0], means)
    deviations = np.where(same, 1.0, deviations)
  weights = np.array([how.weights.get(name, 0.0) for name in names])
  rewards = ((values - means) / deviations) @ weights
  lowest = float(rewards.min()) if scales is None else scales.lowest
  below = np.zeros(len(values), bool)
  for name, bound in how.least.items():
    below |= values[:, names.index(name)] < bound
  rewards = np.where(below, min(lowest, float(rewards.min())), rewards)
  each = iter(rewards.tolist())
  made = [
    dataclasses.replace(r, rewards=tuple(next(each) for _ in r.completions))
    for r in records
  ]
  found = Scales(names, tuple(means), tuple(deviations), lowest)
  return made, found, _sentences(how, found, values, int(below.sum()))


def _sentences(
  how: Aspects, scales: Scales, values: np.ndarray, below: int
) -> list[str]:
  terms = []
  for name, weight in how.weights.items():
    i = scales.names.index(name)
    term = f"{weight:g} x {name}"
    if how.scaling == "std":
      term += f" (mean {scales.means[i]:.4g}, sd {scales.deviations[i]:.4g})"
    terms.append(term)
  done = "each brought to mean 0 and sd 1" if how.scaling == "std" else "as is"
  said = [f"rewards of several aspects, {done}: {' + '.join(terms)}"]
  for i, name in enumerate(scales.names):
    if name in how.weights and (values[:, i] == values[0, i]).all():
      said.append(
        f"note: aspect {quote(name)} is {values[0, i]:g} in every row, and so "
        "tells nothing apart"
      )
  if how.least:
    bounds = ", ".join(f"{name} {v:g}" for name, v in how.least.items())
    said.append(
      f"{count(below, 'completion')} below the least ({bounds}): given the "
      f"lowest reward, {scales.lowest:.4g}"
    )
  return [Sentence(each) for each in said]
