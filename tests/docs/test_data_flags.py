"""The flags that docs/data.md shows are accepted, those in tables too."""

import pathlib
import re
import shlex

import pytest
from absl import flags

from offalign import data, losses
from offalign.config import Config
from offalign.config.config import check
from offalign.programs import flags as flags_lib
from offalign.training import inputs

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "data.md"


def blocks(language):
  text = PAGE.read_text(encoding="utf-8")
  return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.M)


def commands():
  """The flags of each command and of each line of flags, as lists."""
  page = PAGE.read_text(encoding="utf-8")
  short = set(re.findall(r"^<!-- run with: (.*) -->$", page, re.M))
  (more,) = (shlex.split(flags) for flags in short)
  found = []
  for block in (*blocks("bash"), *blocks("text")):
    for line in block.replace("\\\n", " ").splitlines():
      given = shlex.split(line.removeprefix("python -m offalign.train "))
      found.append([*given, *more])
  return found


def config(args):
  values = flags.FlagValues()
  flags_lib.define(Config, values=values)
  assert values(["train", *args]) == ["train"]
  return flags_lib.read(Config, values=values)


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with the files that the page begins by writing."""
  monkeypatch.chdir(tmp_path)
  exec(blocks("python")[0], {})


@pytest.mark.usefixtures("here")
def test_every_command_finds_its_rows():
  found = commands()
  assert len(found) == 16
  for args in found:
    if not any(arg.startswith("--cfg.out=") for arg in args):
      args = [*args, "--cfg.out=runs/shown"]
    given = config(args)
    check(given)
    read = inputs.read(
      given.data,
      losses.get(given.loss),
      lambda texts: data.make_tokenizer("byte"),
      seed=given.seed,
    )
    assert read.sampler(given.batch_size, given.seed).indices(0).size == 8
    assert read.held_out is not None
