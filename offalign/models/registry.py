"""The registry of models: `register`, `names`, `configure`, `make`.

A third party registers a model as it does a loss. The module that does so is
imported by a spec that names it, `my_models:bag(width=8)`, by the option
`imports`, or, under the entry-point group `offalign.models` of an installed
package, when a name is first looked up.
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from flax import nnx

from offalign import spec as spec_lib
from offalign import user_code
from offalign.errors import UserError, suggest
from offalign.models import functions
from offalign.models.base import Model

ENTRY_POINTS = "offalign.models"
_LARGEST = 2**31 - 1  # of a size
_MOST_LAYERS = 10_000  # each is made, one after another
Build = type[nnx.Module] | Callable[[Any], Model]


@dataclasses.dataclass(frozen=True)
class Family:
  """A registered model before its options are chosen.

  Attributes:
    name: what `make` and the flags call it.
    config: a dataclass; see `register`.
    build: a module class, or config -> `Model`; see `register`.
  """

  name: str
  config: type
  build: Build

  @property
  def defaults(self) -> dict[str, Any]:
    """Option of a spec -> default, in the order of the fields."""
    return {
      field.name: field.default
      for field in dataclasses.fields(self.config)
      if field.name != "vocab_size" and field.metadata.get("spec", True)
    }


_families: dict[str, Family] = {}
_loaded = False


def register(name: str, config: type, build: Build) -> None:
  """Registers a model under a name.

  A model that is defined anew, in a notebook's cell that runs again, replaces
  itself: its config and what builds it have the same names in the same module.

  Args:
    name: what specs call it, `name(option=value)`.
    config: a frozen dataclass with the field `vocab_size`. Its other fields
      are the options of a spec, but for those with
      `metadata={"spec": False}`; each has a default, and a type that
      `offalign.spec.choose` takes. It raises `UserError` for options that do
      not go together.
    build: a Flax NNX module class, made as `build(config, rngs=rngs)`, with
      the methods that `offalign.models.functions.as_model` lists and a config
      that has `width`; or a function config -> `Model`.

  Raises:
    ValueError: for a name that another model has, or that is no identifier,
      or a config that is not as above.
  """
  if not spec_lib.is_word(name):
    raise ValueError(f"model name {name!r} is not an identifier")
  family = Family(name, config, build)
  taken = _families.get(name)
  # Two modules may build their models with one class, such as our Decoder.
  for old, new in zip(_parts(taken), _parts(family), strict=False):
    if not user_code.is_redefined(old, new):
      raise ValueError(
        f"a model named {name!r} is registered already, by "
        f"{old.__module__}; choose another name"
      )
  _check(family)
  _families[name] = family


def names() -> list[str]:
  """Returns every registered name, sorted."""
  _load_entry_points()
  return sorted(_families)


def make(spec: str, *, vocab_size: int) -> Model:
  """Builds a model; its weights come from its `init`.

  >>> make("decoder(layers=2, width=96)", vocab_size=25).spec
  'decoder(width=96)'

  Args:
    spec: see `configure`.
    vocab_size: V.

  Returns:
    The model; its `spec` makes it again, and is the same for all ways to ask
    for it.

  Raises:
    UserError: see `configure`.
  """
  name, _ = spec_lib.parse(spec, what="model")
  family, config = _configured(spec, vocab_size)
  chosen = {k: getattr(config, k) for k in family.defaults}
  changed = {k: v for k, v in chosen.items() if v != family.defaults[k]}
  canonical = spec_lib.unparse(name, changed)
  if not _is_module(family.build):
    model = typing.cast(Callable[[Any], Model], family.build)(config)
    return dataclasses.replace(model, spec=canonical)
  module = typing.cast(Callable[..., nnx.Module], family.build)
  return functions.as_model(
    lambda rngs: module(config, rngs=rngs),
    spec=canonical,
    vocab_size=vocab_size,
    width=config.width,
  )


def configure(spec: str, *, vocab_size: int) -> Any:
  """Reads a spec.

  Args:
    spec: a registered name, and those of its options that are not to have
      their defaults: the fields of its config, e.g. of `DecoderConfig` or
      `T5Config`, but for those that only a checkpoint sets. A name with a
      module before it, `my_models:bag`, imports that module: give no spec here
      that comes from a file which you would not run.
    vocab_size: V.

  Returns:
    The config, e.g. a `DecoderConfig` or a `T5Config`.

  Raises:
    UserError: for an unknown name or option, a wrong type, options that do
      not go together, with the valid ones, or a module that cannot be
      imported.
  """
  return _configured(spec, vocab_size)[1]


def _configured(spec: str, vocab_size: int) -> tuple[Family, Any]:
  name, given = spec_lib.parse(spec, what="model")
  family = _find(name)
  owner = f"model {family.name!r}"
  hints = typing.get_type_hints(family.config)
  chosen = spec_lib.choose(owner, family.defaults, hints, given)
  _check_positive(owner, {**chosen, "vocab_size": vocab_size})
  try:
    return family, family.config(vocab_size=vocab_size, **chosen)
  except UserError as error:
    raise UserError(f"{owner}: {error}") from None


def _find(name: str) -> Family:
  _load_entry_points()
  module, plain = spec_lib.split_module(name)
  if module:
    user_code.load_registered(module, "model", plain, _registered)
    return _families[plain]
  if name not in _families:
    raise UserError(
      f"there is no model {name!r}{suggest(name, _families)} (families: "
      f"{', '.join(names())})"
    )
  return _families[name]


def _registered() -> dict[str, tuple[Any, ...]]:
  return {name: _parts(known) for name, known in _families.items()}


def _parts(family: Family | None) -> tuple[Any, ...]:
  return () if family is None else (family.build, family.config)


def _load_entry_points() -> None:
  global _loaded
  if not _loaded:
    _loaded = True
    user_code.load_plugins(ENTRY_POINTS, "models")


def _is_module(build: Build) -> bool:
  return isinstance(build, type) and issubclass(build, nnx.Module)


def _check(family: Family) -> None:
  where, config = f"model {family.name!r}", family.config
  if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
    raise ValueError(f"{where}: its config is no dataclass")
  fields = {field.name: field for field in dataclasses.fields(config)}
  if "vocab_size" not in fields:
    raise ValueError(f"{where}: its config has no field 'vocab_size'")
  for name, field in fields.items():
    if name != "vocab_size" and field.default is dataclasses.MISSING:
      raise ValueError(f"{where}: option {name!r} has no default")
  if _is_module(family.build) and not hasattr(config, "width"):
    raise ValueError(f"{where}: its config has no 'width'")


def _check_positive(owner: str, sizes: dict[str, Any]) -> None:
  for name, size in sizes.items():
    if not isinstance(size, int) or isinstance(size, bool):
      continue
    if size < 1:
      raise UserError(f"{owner}: {name} must be at least 1, not {size}")
    most = _MOST_LAYERS if "layers" in name else _LARGEST
    if size > most:
      raise UserError(f"{owner}: {name} must be at most {most:,}, not {size}")
