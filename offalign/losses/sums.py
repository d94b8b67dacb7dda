"""Weighted sums of losses: `dpo(beta=0.1) + 0.2*sft`."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from offalign.errors import UserError
from offalign.losses.base import Definition, Loss, State
from offalign.types import Array, Kind, LossOutput, Scores

Terms = tuple[tuple[float, Loss], ...]

# `Sum` has methods of its own for it; only its presence is asked for.
_STATE = State(dict, lambda scores, state, options: state)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sum(Loss):
  """A weighted sum of losses, which is itself a `Loss`.

  A sum needs what any of its terms needs. Its reward scale, its push from the
  reference and the names of its metrics are those of the first term; metrics
  of the other terms are logged below the term's name, as `sft/nll_loss`, and
  each term's own loss, without its weight, as `sft/loss`.

  Attributes:
    terms: (weight, loss), in order.
  """

  terms: Terms = ()

  def __str__(self) -> str:
    return " + ".join(
      str(loss) if weight == 1 else f"{weight!r}*{loss}"
      for weight, loss in self.terms
    )

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Sum) and self.terms == other.terms

  def __hash__(self) -> int:
    return hash(self.terms)

  def init_state(self) -> dict[str, Any]:
    """The states of the terms, each under the term's name."""
    return {
      name: loss.init_state()
      for name, (_, loss) in zip(_names(self.terms), self.terms, strict=True)
      if loss.has_state
    }

  def update_state(self, scores: Scores, state: Any) -> dict[str, Any]:
    """Updates each term's state."""
    named = dict(zip(_names(self.terms), self.terms, strict=True))
    return {
      name: named[name][1].update_state(scores, own)
      for name, own in state.items()
    }


def add(terms: Terms) -> Loss:
  """Adds weighted losses.

  Args:
    terms: (weight, loss) of each term. Losses of single completions may be
      added to losses on pairs where they define what they do with pairs: sft
      takes the chosen completion, and losses on labels take chosen as True
      and rejected as False.

  Raises:
    UserError: for a weight that is not above 0, or losses that do not take
      the same feedback.
  """
  for weight, loss in terms:
    if not (weight > 0 and math.isfinite(weight)):
      raise UserError(
        f"the weight of {str(loss)!r} must be finite and above 0, not {weight}"
      )
  kind = _kind(terms)
  if kind is Kind.PAIR:
    terms = tuple((weight, _on_pairs(loss)) for weight, loss in terms)
  _check_order(terms, kind)
  first = terms[0][1]
  names = _names(terms)
  needs = dict.fromkeys(need for _, loss in terms for need in loss.needs)
  definition = Definition(
    name=" + ".join(names),
    fn=_function(names, terms),
    kind=kind,
    needs=tuple(needs),
    whole_batch=any(loss.whole_batch for _, loss in terms),
    scale=lambda options: first.scale,
    average=first.average,
    positive=(),
    check=None,
    pushes=first.pushes,
    on_pairs=None,
    rewards=first.trains_rewards,
    state=_STATE if any(loss.has_state for _, loss in terms) else None,
    paper="; ".join(loss.definition.paper for _, loss in terms),
    when=" ".join(loss.definition.when for _, loss in terms),
    formula=" + ".join(
      f"{weight:g}\\,({loss.definition.formula})" for weight, loss in terms
    ),
  )
  if len({loss.trains_rewards for _, loss in terms}) > 1:
    raise UserError(
      "a sum cannot train a policy and a reward model at once: "
      + " and ".join(repr(str(loss)) for _, loss in terms)
    )
  return Sum(definition, (), terms=terms)


def _names(terms: Terms) -> list[str]:
  """Names each term; a loss that occurs again gets a number."""
  found: list[str] = []
  for _, loss in terms:
    again = sum(name.partition("_#")[0] == loss.name for name in found)
    found.append(f"{loss.name}_#{again + 1}" if again else loss.name)
  return found


def _kind(terms: Terms) -> Kind:
  kinds = {loss.kind for _, loss in terms}
  if {Kind.PAIR, Kind.GROUP} <= kinds:
    pair, group = (
      next(str(loss) for _, loss in terms if loss.kind is kind)
      for kind in (Kind.PAIR, Kind.GROUP)
    )
    raise UserError(
      f"{pair!r} takes pairs and {group!r} groups; a sum takes one of them"
    )
  return next((k for k in (Kind.PAIR, Kind.GROUP) if k in kinds), Kind.SINGLE)


def _on_pairs(loss: Loss) -> Loss:
  """The form of a loss that can be added to losses on pairs."""
  if loss.kind is Kind.PAIR:
    return loss
  if loss.definition.on_pairs is not None:
    on_pairs = dict(loss.definition.on_pairs)
    there = loss.definition.bind({**loss.options, **on_pairs})
    return dataclasses.replace(there, module=loss.module)
  if "labels" not in loss.needs:
    raise UserError(
      f"{str(loss)!r} takes single completions and says nothing about pairs, "
      "so it cannot be added to a loss on pairs"
    )
  return loss


def _check_order(terms: Terms, kind: Kind) -> None:
  """Refuses to mix losses that read rewards, for which pairs have no order.

  All other losses on pairs need the chosen completion first.
  """
  if kind is not Kind.PAIR:
    return
  by_reward = [loss for _, loss in terms if "rewards" in loss.needs]
  ordered = [loss for _, loss in terms if "rewards" not in loss.needs]
  if by_reward and ordered:
    raise UserError(
      f"{str(ordered[0])!r} takes pairs with the chosen one first, and "
      f"{str(by_reward[0])!r} compares rewards, so that its pairs have no "
      "order; they cannot be added"
    )


def _function(names: list[str], terms: Terms) -> Any:
  def fn(scores: Scores) -> LossOutput:
    values: Array = jnp.zeros((), scores.logps.dtype)
    metrics: dict[str, Array] = {}
    for i, (name, (weight, loss)) in enumerate(zip(names, terms, strict=True)):
      columns: dict[str, Any] = dict(scores.columns)
      if "state" in columns:
        columns["state"] = columns["state"].get(name)
      output = loss(Scores(columns))
      values = values + weight * output.values
      metrics[f"{name}/loss"] = output.values
      prefix = f"{name}/" if i else ""
      metrics |= {f"{prefix}{k}": v for k, v in output.metrics.items()}
    return LossOutput(values, metrics)

  return fn
