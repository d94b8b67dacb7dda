"""Models by spec string: `make("t5(width=128)", vocab_size=4096)`."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from flax import nnx

from offalign import spec as spec_lib
from offalign.errors import UserError, suggest
from offalign.models import layers
from offalign.models.base import Hidden, HiddenFn, Model
from offalign.models.decoder import Decoder
from offalign.models.decoder_config import DecoderConfig
from offalign.models.t5 import T5
from offalign.models.t5_config import T5Config

_FAMILIES: dict[str, tuple[type, Callable[..., nnx.Module]]] = {
  "decoder": (DecoderConfig, Decoder),
  "t5": (T5Config, T5),
}


def names() -> list[str]:
  """Returns the families there are, sorted."""
  return sorted(_FAMILIES)


def make(spec: str, *, vocab_size: int) -> Model:
  """Builds a model; its weights come from its `init`.

  >>> make("decoder(layers=2, width=96)", vocab_size=25).spec
  'decoder(width=96)'

  Args:
    spec: a family, and those of its options that are not to have their
      defaults: the fields of `DecoderConfig` or `T5Config`, but for those
      that only a checkpoint sets.
    vocab_size: V.

  Returns:
    The model; its `spec` makes it again, and is the same for all ways to ask
    for it.

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
  family, module = _FAMILIES[name]
  defaults = {
    field.name: field.default
    for field in dataclasses.fields(family)
    if field.name != "vocab_size" and field.metadata.get("spec", True)
  }
  owner = f"model {name!r}"
  chosen = spec_lib.choose(
    owner, defaults, typing.get_type_hints(family), given
  )
  _check_positive(owner, {**chosen, "vocab_size": vocab_size})
  try:
    config: Any = family(vocab_size=vocab_size, **chosen)
  except UserError as error:
    raise UserError(f"{owner}: {error}") from None
  changed = {k: v for k, v in chosen.items() if v != defaults[k]}
  return layers.as_model(
    lambda rngs: module(config, rngs=rngs),
    spec=spec_lib.unparse(name, changed),
    vocab_size=vocab_size,
    width=config.width,
  )


def _check_positive(owner: str, sizes: dict[str, Any]) -> None:
  for name, size in sizes.items():
    if isinstance(size, int) and not isinstance(size, bool) and size < 1:
      raise UserError(f"{owner}: {name} must be at least 1, not {size}")


__all__ = [
  "Hidden",
  "HiddenFn",
  "Model",
  "make",
  "names",
]
