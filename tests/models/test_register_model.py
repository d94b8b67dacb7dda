"""Models of third parties: registered, refused, or brought by a plugin."""

import dataclasses
import importlib.metadata
import sys
import types

import pytest
from flax import nnx
from registries import BAG

from offalign import models
from offalign.errors import UserError
from offalign.models import registry
from offalign.models.decoder.config import DecoderConfig
from offalign.models.decoder.decoder import Decoder


@dataclasses.dataclass(frozen=True)
class Narrow(DecoderConfig):
  width: int = 16

  def __post_init__(self):
    super().__post_init__()
    if self.layers > 3:
      raise UserError(f"layers={self.layers} are too many")


class Mine(Decoder):
  pass


def cell(text):
  """Runs a notebook's cell."""
  module = types.ModuleType("cell")
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "cell", module)  # dataclasses look there
    exec(text, vars(module))


def test_a_registered_model_is_like_ours(own_models):
  models.register("mine", Narrow, Mine)
  assert models.names() == ["decoder", "mine", "t5"]
  model = models.make("mine(layers=1, width=16, heads=2)", vocab_size=9)
  assert model.spec == "mine(layers=1, heads=2)"
  assert (model.width, model.vocab_size) == (16, 9)
  config = models.configure("mine(layers=1)", vocab_size=9)
  assert config == Narrow(vocab_size=9, layers=1)
  with pytest.raises(UserError, match="model 'mine': layers=4 are too many"):
    models.make("mine(layers=4)", vocab_size=9)
  with pytest.raises(UserError, match="no option 'widht'; did you mean 'wid"):
    models.make("mine(widht=4)", vocab_size=9)


def test_a_model_may_be_functions(own_models):
  cell(BAG)
  model = models.make("bag(width=4)", vocab_size=9)
  assert (model.spec, model.width, model.vocab_size) == ("bag(width=4)", 4, 9)
  assert models.make("bag(width=8)", vocab_size=9).spec == "bag"


def test_a_cell_that_runs_again_replaces_its_model(own_models):
  cell(BAG)
  cell(BAG.replace("width: int = 8", "width: int = 6"))
  assert models.make("bag", vocab_size=9).width == 6
  with pytest.raises(ValueError, match="'bag' is registered already, by cell"):
    models.register("bag", Narrow, Mine)


@dataclasses.dataclass(frozen=True)
class NoVocabulary:
  width: int = 8


@dataclasses.dataclass(frozen=True)
class NoDefault:
  vocab_size: int
  width: int


@dataclasses.dataclass(frozen=True)
class NoWidth:
  vocab_size: int


class Module(nnx.Module):
  pass


@pytest.mark.parametrize(
  ("name", "config", "build", "said"),
  [
    ("t5", Narrow, Mine, "'t5' is registered already, by offalign.models.t5"),
    ("two words", Narrow, Mine, "'two words' is not an identifier"),
    ("mine", dict, Mine, "its config is no dataclass"),
    ("mine", NoVocabulary, Mine, "its config has no field 'vocab_size'"),
    ("mine", NoDefault, Mine, "option 'width' has no default"),
    ("mine", NoWidth, Module, "its config has no 'width'"),
  ],
)
def test_wrong_registrations_raise(own_models, name, config, build, said):
  with pytest.raises(ValueError, match=said):
    models.register(name, config, build)
  assert models.names() == ["decoder", "t5"]


def test_a_spec_may_name_the_module(modules):
  modules("pack.nets", BAG)
  model = models.make("pack.nets:bag(width=4)", vocab_size=9)
  assert model.spec == "pack.nets:bag(width=4)"
  assert models.make(model.spec, vocab_size=9).spec == model.spec
  with pytest.raises(UserError, match="nets' registers no model 'bg'; did"):
    models.make("pack.nets:bg", vocab_size=9)
  with pytest.raises(UserError, match="model 'nets:bag': there is no module"):
    models.make("nets:bag", vocab_size=9)


DECODER_OF = """
import dataclasses

from offalign import models
from offalign.models.decoder import config, decoder

@dataclasses.dataclass(frozen=True)
class Mine(config.DecoderConfig):
  width: int = {width}

models.register("mine", Mine, decoder.Decoder)
"""


def test_a_name_is_not_taken_over_by_another_module(modules):
  """Both build the same class, so that their configs alone tell them apart."""
  modules("one", DECODER_OF.format(width=16))
  modules("two", DECODER_OF.format(width=24))
  assert models.make("one:mine", vocab_size=9).width == 16
  said = "importing two raised .*'mine' is registered already, by one; choose"
  for spec in ("two:mine", "two:other"):
    with pytest.raises(UserError, match=said):
      models.make(spec, vocab_size=9)
  assert models.make("mine", vocab_size=9).width == 16
  with pytest.raises(
    UserError, match=r"'one' registers .*'decoder' \(it.*mine"
  ):
    models.make("one:decoder", vocab_size=9)


@dataclasses.dataclass
class Plugin:
  value: str
  load: object


def test_plugins_are_loaded_at_the_first_look_and_a_broken_one_warns(
  own_models, monkeypatch
):
  asked, loaded = [], []

  def broken():
    raise ImportError("no module named 'other'")

  def sound():
    loaded.append("theirs")
    models.register("theirs", Narrow, Mine)

  def entry_points(*, group):
    asked.append(group)
    return [Plugin("broken.module", broken), Plugin("sound.module", sound)]

  monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
  monkeypatch.setattr(registry, "_loaded", False)
  with pytest.warns(UserWarning, match="could not be") as caught:
    assert models.make("theirs", vocab_size=9).spec == "theirs"
  assert [str(w.message) for w in caught] == [
    "the models of 'broken.module' could not be loaded: no module named 'other'"
  ]
  assert models.names() == ["decoder", "t5", "theirs"]
  assert (asked, loaded) == (["offalign.models"], ["theirs"])
