"""Models by spec string: `make("t5(width=128)", vocab_size=4096)`."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from flax import nnx

from offalign import spec as spec_lib
from offalign.errors import UserError, suggest
from offalign.models import functions
from offalign.models.base import Hidden, HiddenFn, Model
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder
from offalign.models.t5.config import T5Config
from offalign.models.t5.t5 import T5

_FAMILIES: dict[str, tuple[type, Callable[..., nnx.Module]]] = {
  "decoder": (DecoderConfig, Decoder),
  "t5": (T5Config, T5),
}


def names() -> list[str]:
  """Lists the model families, sorted."""
  return sorted(_FAMILIES)


def make(spec: str, *, vocab_size: int) -> Model:
  """Builds a model from a spec; `Model.init` makes its weights.

  >>> make("decoder(layers=2, width=96)", vocab_size=25).spec
  'decoder(width=96)'

  Args:
    spec: see `configure`.
    vocab_size: V.

  Returns:
    The model. `make(model.spec)` builds the same model; specs that mean the
    same model give the same `Model.spec`.

  Raises:
    UserError: see `configure`.
  """
  name, _ = spec_lib.parse(spec, what="model")
  config = configure(spec, vocab_size=vocab_size)
  defaults = _defaults(type(config))
  chosen = {k: getattr(config, k) for k in defaults}
  module = _FAMILIES[name][1]
  return functions.as_model(
    lambda rngs: module(config, rngs=rngs),
    spec=spec_lib.unparse(
      name, {k: v for k, v in chosen.items() if v != defaults[k]}
    ),
    vocab_size=vocab_size,
    width=config.width,
  )


def configure(spec: str, *, vocab_size: int) -> Any:
  """Parses a model spec into the family's configuration.

  Args:
    spec: a family, with the options that differ from their defaults. Options
      are the fields of `DecoderConfig` or `T5Config`, except those that only
      a checkpoint sets.
    vocab_size: V.

  Returns:
    A `DecoderConfig` or a `T5Config`.

  Raises:
    UserError: for an unknown family or option, a wrong type, or options that
      do not go together; lists the valid ones.
  """
  name, given = spec_lib.parse(spec, what="model")
  if name not in _FAMILIES:
    raise UserError(
      f"there is no model {name!r}{suggest(name, _FAMILIES)} (families: "
      f"{', '.join(names())})"
    )
  family, _ = _FAMILIES[name]
  owner = f"model {name!r}"
  chosen = spec_lib.choose(
    owner, _defaults(family), typing.get_type_hints(family), given
  )
  _check_positive(owner, {**chosen, "vocab_size": vocab_size})
  try:
    return family(vocab_size=vocab_size, **chosen)
  except UserError as error:
    raise UserError(f"{owner}: {error}") from None


def _defaults(family: type) -> dict[str, Any]:
  """The options of a spec, and their defaults."""
  return {
    field.name: field.default
    for field in dataclasses.fields(family)
    if field.name != "vocab_size" and field.metadata.get("spec", True)
  }


def _check_positive(owner: str, sizes: dict[str, Any]) -> None:
  for name, size in sizes.items():
    if isinstance(size, int) and not isinstance(size, bool) and size < 1:
      raise UserError(f"{owner}: {name} must be at least 1, not {size}")


__all__ = [
  "Hidden",
  "HiddenFn",
  "Model",
  "configure",
  "make",
  "names",
]
