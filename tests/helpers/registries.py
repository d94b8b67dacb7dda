"""Fixtures for losses, models and modules that are a test's own."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from offalign.losses import registry as losses
from offalign.models import registry as models

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs/examples/offalign_extras"

HUBER = """
import jax.numpy as jnp

from offalign.losses import register
from offalign.types import Kind, Scores


@register(
  "{name}",
  kind=Kind.PAIR,
  needs=("ref_logps",),
  scale="tau",
  positive=("tau",),
  paper="none",
  when="never",
  formula="none",
)
def {name}(scores: Scores, *, tau: float = 1.0):
  rho = scores.log_ratios
  off = jnp.abs(1 - tau * (rho[:, 0] - rho[:, 1]))
  return jnp.where(off < 1, 0.5 * off**2, off - 0.5)
"""
"""The text of a module that registers a loss."""

BAG = (EXAMPLE / "offalign_bag.py").read_text(encoding="utf-8")
"""The text of a module that registers a model."""


@pytest.fixture
def own_registry(monkeypatch):
  """A copy of the registry of losses that the test may change."""
  own = dict(losses._definitions)
  monkeypatch.setattr(losses, "_definitions", own)
  return own


@pytest.fixture
def own_models(monkeypatch):
  """A copy of the registry of models that the test may change."""
  own = dict(models._families)
  monkeypatch.setattr(models, "_families", own)
  return own


@pytest.fixture
def modules(tmp_path, tmp_path_factory, monkeypatch, own_registry, own_models):
  """Writes modules into the current folder; none is left imported."""
  monkeypatch.chdir(tmp_path)
  # Files that other tests have run left their folders on the path.
  others = str(tmp_path_factory.getbasetemp())
  found = [p for p in sys.path if p and not p.startswith(others)]
  monkeypatch.setattr(sys, "path", found)
  before = set(sys.modules)
  here = str(tmp_path)

  def write(name, text):
    file = tmp_path / f"{name.replace('.', '/')}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file

  yield write
  for name in set(sys.modules) - before:
    file = getattr(sys.modules[name], "__file__", None) or ""
    if file.startswith(here) or not file:
      del sys.modules[name]


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
  """A folder with the example package in it, as pip puts it there."""
  folder = tmp_path_factory.mktemp("site")
  source = shutil.copytree(EXAMPLE, folder / "source")
  target = folder / "target"
  # In this environment: a build of its own would be fetched from an index.
  pytest.importorskip("setuptools", "77")
  alone = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
  where = ("--target", str(target), str(source))
  subprocess.run(
    [sys.executable, "-m", "pip", "install", *alone, *where], check=True
  )
  return target
