"""Contracts on declarations: a loss reads all that it declares, and no more."""

import typing
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from offalign import losses
from offalign import spec as spec_lib
from offalign.errors import UserError
from offalign.losses import Loss
from offalign.testing.losses.inputs import (
  difference,
  learning,
  require,
  run,
  sample,
  with_means,
)
from offalign.types import COLUMNS


def undeclared(loss: Loss) -> None:
  """A loss runs on its declared columns alone, and all of them exist."""
  for name in loss.needs:
    require(name in COLUMNS, f"it declares {name!r}, which is not a column")
  columns = with_means(loss, sample(loss))
  state = ("state",) if loss.has_state else ()
  declared = {name: columns[name] for name in ("logps", *loss.needs, *state)}
  poisoned = {
    name: x if name in (*declared, "state") else np.full(x.shape, np.nan)
    for name, x in columns.items()
  }
  name = difference(run(loss, declared), run(loss, poisoned))
  require(not name, f"{name} depends on a column that it does not declare")


def declared(loss: Loss) -> None:
  """Each declared column and state has an effect; values get gradients."""
  columns = with_means(loss, sample(loss))
  base = learning(run(loss, columns))
  rng = np.random.default_rng(2)
  for name in loss.needs:
    x = columns[name]
    if x.dtype == bool:
      others = [~x]
    else:
      others = [-x, x + 10.0, x * rng.uniform(0.5, 2.0, x.shape)]
    require(
      any(difference(base, run(loss, {**columns, name: o})) for o in others),
      f"it declares {name!r}, which changes neither the loss nor a gradient",
    )
  if loss.has_state:
    other = jax.tree.map(lambda x: x + 1.0, columns["state"])
    require(
      difference(base, run(loss, {**columns, "state": other})),
      "it has a state, which changes neither the loss nor a gradient",
    )
  for name in ("values", "token_values"):
    require(
      name not in loss.needs or np.any(base[f"grad/{name}"]),
      "no gradient reaches the values it declares",
    )


def options(loss: Loss) -> None:
  """Each option of a loss has an effect or is refused; none is ignored."""
  columns = sample(loss, k=2)  # a K that every kind takes
  base = learning(run(loss, with_means(loss, columns)))
  for option in loss.options:
    accepted = list(_variants(loss, option))
    changes = (
      difference(base, run(other, with_means(other, columns)))
      for other in accepted
    )
    require(
      any(changes) or not accepted,
      f"it accepts the option {option!r}, which changes neither the loss nor "
      "a gradient",
    )


def _variants(loss: Loss, option: str) -> Iterator[Loss]:
  """The loss with other values of one option, where they are valid."""
  value = loss.options[option]
  hint = typing.get_type_hints(loss.definition.fn)[option]
  number = value if isinstance(value, int | float) else 1
  for kind in spec_lib.alternatives(hint):
    others: tuple[Any, ...] = ()
    if typing.get_origin(kind) is typing.Literal:
      others = typing.get_args(kind)
    elif kind is bool:
      others = (True, False)
    elif kind is int:
      others = (number + 1, number + 2, number - 1)
    elif kind is float:
      others = (number * 2, number + 0.25, number / 2, number / 100)
    for other in others:
      try:
        if other != value:
          yield loss.definition.bind({**loss.options, option: other})
      except UserError:
        continue


def words(loss: Loss) -> None:
  """A loss has the catalogue's texts: what it is, its source, when to use."""
  for name in ("formula", "paper", "when"):
    said = getattr(loss.definition, name)
    require(said.strip(), f"it is registered without a word for `{name}`")


def spec(loss: Loss) -> None:
  """A loss's spec string makes the same loss; its reward scale is a number."""
  again = losses.get(str(loss))
  require(
    again == loss and hash(again) == hash(loss),
    f"its spec string gives {again!r} instead",
  )
  require(
    np.isfinite(loss.scale) and loss.scale > 0,
    f"log-ratios are logged times {loss.scale}; give `scale`",
  )
