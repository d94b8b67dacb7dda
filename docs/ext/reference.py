"""The reference: a page for every public module, made of its docstrings."""

import importlib
import inspect
import pathlib
import shutil
from typing import Any

import public_names
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

_log = logging.getLogger(__name__)

_START = {
  "offalign.losses": "the registry, and every loss",
  "offalign.testing": "a loss on your own arrays; contracts of losses, models",
  "offalign.data": "feedback, its forms and views, tokens, batches",
  "offalign.models": "models by spec; `offalign.models.hf` reads checkpoints",
  "offalign.learner": "the train step",
  "offalign.generation.sampling": "completions drawn from a policy",
  "offalign.config": "every flag of a run",
  "offalign.leaderboard": "rows of results, and boards made of them",
  "offalign.types": "batches, scores and shape letters",
}
"""Where a program begins: module -> what for."""


def _write(app: Sphinx) -> None:
  """Writes api/*.rst anew, so that no page of a module outlives it."""
  folder = pathlib.Path(app.srcdir) / "api"
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir()
  names = public_names.modules()
  public = {name for name, _ in public_names.public_names()}
  for name in names:
    below = [n for n in names if n.rpartition(".")[0] == name]
    page = folder / f"{name}.rst"
    page.write_text(_page(name, below, public), encoding="utf-8")
  (folder / "index.rst").write_text(_index(), encoding="utf-8")


def _page(name: str, below: list[str], public: set[str]) -> str:
  title = f"``{name}``"
  lines = [title, "=" * len(title), "", f".. automodule:: {name}"]
  elsewhere = _from_elsewhere(name)
  if elsewhere:  # each has its place on the page of its own module
    lines += [f"   :exclude-members: {', '.join(elsewhere)}"]
  lines += [""]
  # Autodoc passes over functions that jax has wrapped in an object.
  for own, thing in vars(importlib.import_module(name)).items():
    seen = inspect.isroutine(thing) or inspect.isclass(thing)
    if f"{name}.{own}" in public and callable(thing) and not seen:
      lines += [f".. autofunction:: {name}.{own}", ""]
  if below:
    lines += ["Modules", "-------", "", ".. list-table::", ""]
    for module in below:
      lines += [f"   * - :doc:`{module}`", f"     - {_summary(module)}"]
    lines += ["", ".. toctree::", "   :hidden:", ""]
    lines += [f"   {n.rpartition('.')[2]} <{n}>" for n in below]
  return "\n".join(lines) + "\n"


def _from_elsewhere(name: str) -> list[str]:
  """The names that a module exports and another defines."""
  module = importlib.import_module(name)
  exported = [getattr(module, own) for own in getattr(module, "__all__", ())]
  return sorted(
    thing.__name__
    for thing in exported
    if inspect.isclass(thing) and thing.__module__ != name
  )


def _index() -> str:
  lines = ["Reference", "=========", ""]
  lines += ["Where a program begins:", "", ".. list-table::", ""]
  for name, what in _START.items():
    lines += [f"   * - :doc:`{name}`"]
    lines += [f"     - {what.replace('`', '``')}"]
  lines += ["", "All modules are below :doc:`offalign`. A name that begins"]
  lines += ["with an underscore may change without notice.", ""]
  lines += [".. toctree::", "   :hidden:", "", "   offalign", ""]
  return "\n".join(lines)


def _summary(name: str) -> str:
  words = inspect.getdoc(importlib.import_module(name)) or ""
  first = words.partition("\n\n")[0].replace("\n", " ")
  return first.replace("`", "``").replace("*", "\\*").replace("|", "\\|")


def _skip(
  app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
  """Fields of a named tuple stand in its docstring already."""
  return True if type(thing).__name__ == "_tuplegetter" else None


def _check(app: Sphinx, env: BuildEnvironment) -> None:
  """Every public name has words, and a place on some page."""
  there = {*env.domaindata["py"]["objects"], *env.domaindata["py"]["modules"]}
  for name in public_names.undocumented():
    _log.warning("the public name %s has no docstring", name)
  for name, _ in public_names.public_names():
    if name not in there:
      _log.warning("the public name %s is on no page", name)


def setup(app: Sphinx) -> dict[str, bool]:
  """Writes the pages, and checks that they hold all public names."""
  for field in PyObject.doc_field_types:
    if field.name == "variable":
      field.label = "Attributes"
  app.connect("builder-inited", _write)
  app.connect("autodoc-skip-member", _skip)
  app.connect("env-check-consistency", _check)
  return {"parallel_read_safe": True, "parallel_write_safe": True}
