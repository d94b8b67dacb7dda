"""Names that a package imports when they are first used (PEP 562).

    __getattr__, __dir__ = lazy.names(__name__, {"policy.policy": ("Policy",)})

`import offalign` takes no time so, and brings no jax. Beside the call, the
same imports stand under TYPE_CHECKING, for type checkers.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any


def names(
  package: str,
  owners: Mapping[str, Collection[str]],
  *,
  renamed: Mapping[str, str] | None = None,
  submodules: Collection[str] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
  """Makes `__getattr__` and `__dir__` of a package.

  Args:
    package: its `__name__`.
    owners: module, relative to the package -> names that it has.
    renamed: name here -> name there, where they differ.
    submodules: modules of the package that are names too.

  Returns:
    The two functions.
  """
  owner = {name: module for module, held in owners.items() for name in held}
  there = dict(renamed or {})

  def get(name: str) -> Any:
    if name in submodules:
      return importlib.import_module(f"{package}.{name}")
    if name not in owner:
      raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module = importlib.import_module(f"{package}.{owner[name]}")
    found = getattr(module, there.get(name, name))
    setattr(sys.modules[package], name, found)
    return found

  def listed() -> list[str]:
    return sorted({*vars(sys.modules[package]), *owner, *submodules})

  return get, listed


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
  """Imports within find no such module, unless it is imported already.

  For a library that takes seconds to import, and that another one imports
  without need where it finds it.

  Args:
    module: its name.
  """
  if module in sys.modules:
    yield
    return
  sys.modules[module] = None  # type: ignore[assignment]
  try:
    yield
  finally:
    del sys.modules[module]
