"""The registry: `get`, `names`, `register`.

A third party registers a loss with the decorator. The module that does so is
imported by a spec that names it, `my_losses:huber`, by the option `imports`,
or, under the entry-point group `offalign.losses` of an installed package, when
a name is first looked up.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from offalign import spec as spec_lib
from offalign import user_code
from offalign.errors import UserError, suggest
from offalign.losses import sums
from offalign.losses.base import (
  Definition,
  Loss,
  LossFn,
  Options,
  Pushes,
  State,
  check_needs,
  check_options,
)
from offalign.types import Kind

ENTRY_POINTS = "offalign.losses"

_definitions: dict[str, Definition] = {}
_loaded = False


def register(
  name: str,
  *,
  kind: Kind | Callable[[Options], Kind],
  needs: tuple[str, ...] | Callable[[Options], tuple[str, ...]] = (),
  whole_batch: bool | Callable[[Options], bool] = False,
  scale: str | Callable[[Options], float] = lambda options: 1.0,
  average: bool | Callable[[Options], bool] = False,
  positive: tuple[str, ...] = (),
  check: Callable[[Options], str | None] | None = None,
  pushes: Pushes | Callable[[Options], Pushes] = None,
  on_pairs: tuple[tuple[str, Any], ...] | None = None,
  rewards: bool = False,
  state: State | None = None,
  paper: str,
  when: str,
  formula: str,
) -> Callable[[LossFn], LossFn]:
  """Registers `fn(scores, *, option=default, ...)` under a name.

  The arguments are the attributes of `Definition`. The decorated function is
  returned unchanged; the registry holds the definition made from it. A
  function that is defined again, as by a notebook's cell that is run again,
  replaces itself.

  Raises:
    ValueError: for a name that another function has, a name that is no
      identifier, a column that does not exist, a parameter that is no
      keyword-only option with default and type, or a declaration that names
      no such option.
  """

  def decorate(fn: LossFn) -> LossFn:
    if not spec_lib.is_word(name):
      raise ValueError(f"loss name {name!r} is not an identifier")
    taken = _definitions.get(name)
    if taken is not None and not user_code.is_redefined(taken.fn, fn):
      raise ValueError(
        f"a loss named {name!r} is registered already, by "
        f"{taken.fn.__module__}; choose another name"
      )
    definition = Definition(
      name=name,
      fn=fn,
      kind=kind,
      needs=needs,
      whole_batch=whole_batch,
      scale=scale,
      average=average,
      positive=positive,
      check=check,
      pushes=pushes,
      on_pairs=on_pairs,
      rewards=rewards,
      state=state,
      paper=paper,
      when=when,
      formula=formula,
    )
    check_options(definition)
    check_needs(name, definition.bind({}).needs)
    _definitions[name] = definition
    return fn

  return decorate


def get(spec: "str | Loss", **options: Any) -> Loss:
  """Returns a loss by name, by spec string, or with keyword options.

  A weighted sum of specs, `dpo + 0.2*sft`, is a loss too; see `sums`. A name
  with a module before it, `my_losses:huber(tau=1)`, imports that module: give
  no spec here that comes from a file which you would not run.

  >>> str(get("kto(beta=0.2)"))
  'kto(beta=0.2)'
  >>> get("dro_v", tau=0.5) == get("dro_v(tau=0.5)")
  True
  >>> str(get("dpo(beta=0.3) + 0.2*sft"))
  'dpo(beta=0.3) + 0.2*sft(on=chosen)'

  Raises:
    UserError: for an unknown name or option, with the valid ones, or a module
      that cannot be imported.
  """
  if isinstance(spec, Loss) and not options:
    return spec
  terms = spec_lib.split_sum(str(spec))
  if len(terms) > 1 or terms[0][0] != 1:
    if options:
      raise UserError(
        f"options by keyword are of one loss, and {str(spec)!r} is a sum; "
        "write them in the spec"
      )
    return sums.add(tuple((weight, get(term)) for weight, term in terms))
  if isinstance(spec, Loss):
    name, given = spec_lib.parse(str(spec))[0], spec.options
  else:
    name, given = spec_lib.parse(spec)
  both = sorted(set(given) & set(options)) if isinstance(spec, str) else []
  if both:
    raise UserError(
      f"loss {name!r}: option {both[0]!r} is given twice, in the spec and by "
      "keyword"
    )
  loss = definition(name).bind({**given, **options})
  module, _ = spec_lib.split_module(name)
  return dataclasses.replace(loss, module=module) if module else loss


def definition(name: str) -> Definition:
  """Returns the definition of a registered name.

  Args:
    name: or "module:name", for which the module is imported.

  Raises:
    UserError: for an unknown name, or a module that cannot be imported.
  """
  _load_entry_points()
  module, plain = spec_lib.split_module(name)
  if module:
    user_code.load_registered(module, "loss", plain, _registered)
    return _definitions[plain]
  if name not in _definitions:
    raise UserError(
      f"there is no loss {name!r}{suggest(name, _definitions)} "
      f"(registered: {', '.join(names())})"
    )
  return _definitions[name]


def names() -> list[str]:
  """Returns every registered name, sorted."""
  _load_entry_points()
  return sorted(_definitions)


def _registered() -> dict[str, tuple[LossFn]]:
  return {name: (known.fn,) for name, known in _definitions.items()}


def _load_entry_points() -> None:
  global _loaded
  if not _loaded:
    _loaded = True
    user_code.load_plugins(ENTRY_POINTS, "losses")
