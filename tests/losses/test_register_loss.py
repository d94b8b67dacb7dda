"""Losses of third parties: registered, refused, or brought by a plugin."""

import importlib.metadata
import warnings
from typing import Literal

import numpy as np
import pytest
from registries import HUBER

from offalign import losses
from offalign import spec as spec_lib
from offalign.errors import UserError
from offalign.losses import registry
from offalign.types import Kind, Scores


def plain(scores: Scores):
  return scores.logps[:, 0]


def register(name, fn=plain, **declared):
  words = dict.fromkeys(("paper", "when", "formula"), "none")
  return losses.register(name, **{"kind": Kind.SINGLE, **words, **declared})(fn)


def test_a_registered_loss_is_like_ours(own_registry):
  def fn(scores: Scores, *, rate: float = 1.0, mode: Literal["a", "b"] = "a"):
    return -rate * scores.logps.sum(axis=1) * (1 if mode == "a" else 2)

  assert register("mine", fn) is fn
  assert "mine" in losses.names()
  assert str(losses.get("mine(mode=b)", rate=2)) == "mine(rate=2.0, mode=b)"
  assert fn.__name__ == "fn"


@pytest.mark.parametrize(
  ("name", "fn", "declared", "message"),
  [
    ("dpo", plain, {}, "a loss named 'dpo' is registered already, by offalign"),
    ("two words", plain, {}, "loss name 'two words' is not an identifier"),
    ("lambda", plain, {}, "loss name 'lambda' is not an identifier"),
    ("mine", plain, {"needs": ("reward",)}, "did you mean 'rewards'?"),
    ("mine", plain, {"positive": ("beta",)}, "has no option 'beta'"),
    ("mine", plain, {"scale": "beta"}, "has no option 'beta'"),
    ("mine", lambda s, *, beta: s, {}, "option 'beta' has no default"),
    ("mine", lambda s, *, beta=1.0: s, {}, "option 'beta' has no type"),
    ("mine", lambda s, beta=1.0: s, {}, "'beta' is not keyword-only"),
    ("mine", lambda s, **more: s, {}, "'more' is not keyword-only"),
  ],
)
def test_wrong_registrations_raise(own_registry, name, fn, declared, message):
  with pytest.raises(ValueError, match=message.replace("?", r"\?")):
    register(name, fn, **declared)
  assert own_registry.keys() == registry._definitions.keys()
  assert "mine" not in own_registry


def cell(text, name="huber"):
  """Runs a notebook's cell."""
  exec(HUBER.format(name=name) if text is None else text, {"__name__": "cell"})


def test_a_cell_that_runs_again_replaces_its_loss(own_registry):
  cell(None)
  before = losses.get("huber")
  cell(HUBER.format(name="huber").replace("off - 0.5", "2 * off - 1.5"))
  after = losses.get("huber")
  assert before != after
  assert losses.get("huber(tau=2)").definition == after.definition
  logps = np.array([[-9.0, 0.0]])
  scores = Scores({"logps": logps, "ref_logps": np.zeros((1, 2))})
  assert before(scores).values == 9.5
  assert after(scores).values == 18.5


def test_another_function_does_not_take_a_name(own_registry):
  cell(None)
  text = HUBER.format(name="huber").replace("def huber", "def other")
  with pytest.raises(ValueError, match="'huber' is registered already, by c"):
    cell(text)
  with pytest.raises(ValueError, match="'dpo' is registered already, by offa"):
    cell(None, name="dpo")


def test_a_spec_may_name_the_module(modules):
  modules("pack.mine", HUBER.format(name="huber"))
  assert "huber" not in losses.names()
  loss = losses.get("pack.mine:huber(tau=2)")
  assert str(loss) == "pack.mine:huber(tau=2.0)"
  assert repr(loss) == "offalign.losses.get('pack.mine:huber(tau=2.0)')"
  assert loss.name == "huber"
  again = losses.get(str(loss))
  assert (again, str(again), hash(again)) == (loss, str(loss), hash(loss))
  assert loss == losses.get("huber", tau=2)
  assert str(losses.get(loss, tau=3)) == "pack.mine:huber(tau=3.0)"
  assert str(losses.get("pack.mine:huber")) == "pack.mine:huber"


def test_a_term_of_a_sum_may_name_its_module(modules):
  modules("mine", HUBER.format(name="huber"))
  modules("pack", "from mine import huber")
  spec = "dpo(beta=0.3) + 0.5*mine:huber(tau=2.0) + pack:huber"
  loss = losses.get(spec)
  assert str(loss) == spec
  assert losses.get(str(loss)) == loss
  zeros = np.zeros((1, 2))
  metrics = loss(Scores({"logps": zeros, "ref_logps": zeros})).metrics
  assert {"dpo/loss", "huber/loss", "huber_#2/loss"} <= set(metrics)


@pytest.mark.parametrize(
  ("spec", "said"),
  [
    ("no_mine:huber", "loss 'no_mine:huber': there is no module 'no_mine'"),
    ("bad:huber", "loss 'bad:huber': importing bad raised NameError"),
    (
      "mine:hubr",
      r"'mine' registers no loss 'hubr'; did you mean 'huber'\? "
      r"\(it registers: huber\)",
    ),
    ("mine:dpo", r"'mine' registers no loss 'dpo' \(it registers: huber\)"),
    ("mine:huber(ta=1)", "loss 'huber' has no option 'ta'; did you mean 'tau'"),
    ("mine:huber(", "cannot be read"),
    ("mine:", "cannot be read"),
    ("mine :huber", "cannot be read"),
    ("a:b:c", "cannot be read"),
    (
      "taken:huber",
      "loss 'taken:huber': importing taken raised ValueError",
    ),
  ],
)
def test_mistakes_with_modules_are_named(modules, spec, said):
  modules("bad", "oops")
  modules("mine", HUBER.format(name="huber"))
  if spec.startswith("taken"):
    losses.get("mine:huber")
    modules("taken", HUBER.format(name="huber"))
  with pytest.raises(UserError, match=said):
    losses.get(spec)


def test_texts_in_options_are_no_modules():
  spec = "endpoint(url='http://a:b(c)', model=\"x:y\")"
  options = {"url": "http://a:b(c)", "model": "x:y"}
  assert spec_lib.parse(spec, "judge") == ("endpoint", options)


class Plugin:
  """An entry point that registers a loss, or fails."""

  def __init__(self, value, load):
    self.value, self.load = value, load


def broken():
  raise ImportError("no module named 'other'")


@pytest.fixture
def plugins(own_registry, monkeypatch):
  """Pretends that plugins are installed and not loaded yet."""

  def install(*points):
    asked = []

    def entry_points(*, group):
      asked.append(group)
      return points

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_loaded", False)
    return asked

  return install


def test_plugins_are_loaded_once_when_a_name_is_looked_up(plugins):
  loaded = []

  def load():
    loaded.append("theirs")
    register("theirs")

  asked = plugins(Plugin("their.module", load))
  assert loaded == []
  assert losses.get("theirs").name == "theirs"
  assert "theirs" in losses.names()
  assert loaded == ["theirs"]
  assert asked == ["offalign.losses"]


def test_a_broken_plugin_warns_and_hides_nothing(plugins):
  plugins(
    Plugin("broken.module", broken),
    Plugin("taken.module", lambda: register("dpo")),
    Plugin("sound.module", lambda: register("theirs")),
  )
  with pytest.warns(UserWarning, match="could not be loaded") as caught:
    names = losses.names()
  assert {"dpo", "theirs"} <= set(names)
  first, second = (str(w.message) for w in caught)
  assert first == (
    "the losses of 'broken.module' could not be loaded: no module named 'other'"
  )
  assert second.startswith("the losses of 'taken.module' could not be loaded")
  assert losses.definition("dpo").fn.__module__ == "offalign.losses.gpo"
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert losses.names() == names
