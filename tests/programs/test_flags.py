"""Config dataclasses as flags: types, defaults, help, and what is refused."""

import dataclasses
from typing import Literal

import pytest
from absl import flags as absl_flags

from offalign.config import Config
from offalign.config.config import check, flat, refuse_changes
from offalign.errors import UserError
from offalign.learner.value import ValueConfig
from offalign.programs import flags


@dataclasses.dataclass(frozen=True)
class Inner:
  """Inner.

  Attributes:
    mode: which
      of both.
    size: how many.
  """

  mode: Literal["a", "b"] = "a"
  size: int | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
  """Outer.

  Attributes:
    name: a name.
    inner: not shown.
    extra: not shown.
  """

  name: str = "x"
  rate: float = 0.5
  on: bool = False
  inner: Inner = dataclasses.field(default_factory=Inner)
  extra: Inner | None = None


def parse(cls, *args):
  values = absl_flags.FlagValues()
  flags.define(cls, "cfg", values)
  values(["program", *args])
  return flags.read(cls, "cfg", values), values


def test_no_flags_give_the_defaults():
  assert parse(Outer)[0] == Outer()
  assert parse(Config)[0] == Config()


def test_flags_reach_their_fields():
  found, _ = parse(
    Outer, "--cfg.rate=2", "--cfg.on", "--cfg.inner.mode=b", "--cfg.name=y"
  )
  assert found == Outer(name="y", rate=2.0, on=True, inner=Inner(mode="b"))


def test_an_optional_config_is_there_once_one_of_its_flags_is():
  assert parse(Outer, "--cfg.extra.size=3")[0].extra == Inner(size=3)
  value = parse(Config, "--cfg.value.network=shared")[0].value
  assert value == ValueConfig(network="shared")


def test_help_comes_from_the_docstrings():
  _, values = parse(Outer)
  assert values["cfg.inner.mode"].help == "<a|b>: which of both."
  assert values["cfg.name"].help == "a name."
  _, values = parse(Config)
  assert all(values[name].help for name in values if name.startswith("cfg."))


@pytest.mark.parametrize(
  ("arg", "sentence"),
  [
    ("--cfg.los=dpo", "Did you mean: cfg.loss"),
    ("--cfg.data.pth=x", "Did you mean: .*cfg.data.path"),
    ("--cfg.steps=many", "cfg.steps=many"),
    ("--cfg.value.per=exmple", "should be one of <example|batch|token>"),
  ],
)
def test_typos_are_refused(arg, sentence):
  with pytest.raises(absl_flags.Error, match=sentence):
    parse(Config, arg)


@pytest.mark.parametrize(
  ("config", "sentence"),
  [
    (Config(), "^out is missing"),
    (Config(out="x", steps=0), "^steps must be at least 1"),
    (Config(out="x", eval_every=0), "^eval_every must be at least 1"),
  ],
)
def test_configs_that_cannot_run_are_refused(config, sentence):
  with pytest.raises(UserError, match=sentence):
    check(config)


def test_going_on_under_other_flags_is_refused(tmp_path):
  known = {"config": flat(Config(out="x", loss="dpo", steps=10))}
  refuse_changes(Config(out="x", loss="dpo", steps=99), known, tmp_path)
  with pytest.raises(UserError, match=r"options \(loss was 'dpo', is 'ipo'\)"):
    refuse_changes(Config(out="x", loss="ipo", steps=10), known, tmp_path)
